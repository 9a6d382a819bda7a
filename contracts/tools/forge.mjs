// Runs the native forge of this platform in contracts/ and ends with its exit code (the package's own launcher ends with 0).
import { spawnSync } from "node:child_process";
import { native, root } from "./native.mjs";

try {
  const { status, error } = spawnSync(native("forge"), process.argv.slice(2), { cwd: root, stdio: "inherit" });
  if (error) throw error;
  process.exit(status ?? 1);
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
