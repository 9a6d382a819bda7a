// Where the native binaries are. The JavaScript launchers of the packages swallow exit codes, so nothing here uses them.
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

export const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

/** Path of `anvil`, `cast` or `forge` in the package of this platform. */
export function native(tool) {
  const os = { linux: "linux", darwin: "darwin", win32: "win32" }[process.platform];
  const cpu = { x64: "amd64", arm64: "arm64" }[process.arch];
  const suffix = process.platform === "win32" ? ".exe" : "";
  const binary = path.join(root, "node_modules", "@foundry-rs", `${tool}-${os}-${cpu}`, "bin", `${tool}${suffix}`);
  if (!fs.existsSync(binary)) throw new Error(`${binary} is missing: run \`npm ci\` in contracts/`);
  return binary;
}
