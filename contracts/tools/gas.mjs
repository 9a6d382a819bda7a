// Measures what whole transactions cost, on anvil, and keeps the table of it.
//
//   node tools/gas.mjs            print the table
//   node tools/gas.mjs --json     print one JSON object per line: measure, value, unit, baseline
//   node tools/gas.mjs --check    fail if a figure is above the committed one (gas.json) or misses its goal, or the table is not that of gas.json
//   node tools/gas.mjs --write    measure and write gas.json and the table in GAS.md
import fs from "node:fs";
import path from "node:path";
import { MEASURES } from "./gas-measures.mjs";
import { World, withAnvil } from "./gas-world.mjs";
import { root } from "./native.mjs";

const GAS_JSON = path.join(root, "gas.json");
const GAS_MD = path.join(root, "GAS.md");

async function measure() {
  const figures = {};
  for (const build of ["paris", "cancun"]) {
    await withAnvil(async (rpc) => {
      const world = await World.create(rpc, build);
      for (const [name, { gas, calldata }] of Object.entries(await world.measureAll())) {
        figures[name] = { ...figures[name], [build]: gas, calldata };
      }
    });
  }
  return figures;
}

const group = (n) => (n === undefined ? "–" : n.toString().replace(/\B(?=(\d{3})+$)/g, ","));

/** By how many percent `value` is below `baseline`. */
const saving = (value, baseline) => ((baseline - value) / baseline) * 100;

/** How far a figure is below what its goal allows, in percent of the reference; negative: the goal is missed. */
const spare = ({ baseline, goal }, paris) => saving(paris, baseline) - goal;

function row(measure, { paris, cancun, calldata }) {
  const { name, what, baseline, goal } = measure;
  const floor = measure.floor === undefined ? undefined : measure.floor + calldata;
  const against =
    baseline === undefined
      ? ["–", "–", "–"]
      : [
          `−${saving(paris, baseline).toFixed(1)} %`,
          goal === 0 ? "lower" : `−${goal} %`,
          `${spare(measure, paris) > 0 ? "met, " : "missed, "}${spare(measure, paris).toFixed(1)}`,
        ];
  const above = floor === undefined ? "–" : group(paris - floor);
  return [`\`${name}\``, what, group(baseline), group(paris), ...against, group(cancun), group(floor), above];
}

function table(figures) {
  const heads = ["measure", "what", "reference", "Paris", "change", "goal", "points to spare", "Cancun", "floor", "above floor"];
  const lines = [heads, heads.map((_, i) => (i < 2 ? "---" : "---:"))];
  for (const measure of MEASURES) lines.push(row(measure, figures[measure.name]));
  return lines.map((cells) => `| ${cells.join(" | ")} |\n`).join("");
}

const GAS_INTRO = `# Gas

Gas of whole transactions (intrinsic gas, calldata and refunds included) on anvil, with a consumer whose receive hook does nothing.
The output is 32 bytes, input and proof are empty. Every account, wallet and allowance that a payment touches is neither fresh nor
emptied. Written by \`node tools/gas.mjs --write\`; \`--check\` fails when a figure rises above this table or misses its goal.

* **Reference**: the Infernet SDK 1.1.0. Its figures of paid deliveries fit only the second node of an interval, so that is what they are
  set beside; the first node (\`…_first\`) pays for one more new word, in the reference as here.
* **Paris** is what ships; change, goal and the points that are left between them are about this build. **Cancun** is the same source with
  transient storage.
* **Floor** (for Paris): what remains if nothing but intrinsic gas, calldata, storage words, events, coin transfers and first calls to other
  accounts is paid for: see \`tools/gas-measures.mjs\`. **Above floor**: decoding, checks, hashing, memory, second calls, the
  forwarding code of wallets, and what the consumer, token or verifier of the measurement does.

`;

function check(figures) {
  const committed = JSON.parse(fs.readFileSync(GAS_JSON, "utf8"));
  const worse = [];
  for (const measure of MEASURES) {
    const { name, baseline } = measure;
    if (baseline !== undefined && spare(measure, figures[name].paris) <= 0) worse.push(`${name}: the goal is missed`);
    for (const build of ["paris", "cancun"]) {
      const found = figures[name][build];
      const bound = committed[name]?.[build];
      if (bound === undefined || found > bound) worse.push(`${name} (${build}): ${found}, committed ${bound}`);
    }
  }
  if (fs.readFileSync(GAS_MD, "utf8") !== GAS_INTRO + table(committed)) worse.push("GAS.md is not the table of gas.json");
  if (worse.length > 0) throw new Error(`gas rose, a goal is missed, or the table is stale:\n  ${worse.join("\n  ")}`);
  console.log("no figure is above the committed table, and every goal is met");
}

function printJson(figures) {
  for (const { name, baseline } of MEASURES) {
    const line = (measureName, value) =>
      console.log(JSON.stringify({ measure: measureName, value, unit: "gas", baseline: baseline ?? null }));
    line(name, figures[name].paris);
    line(`${name}_cancun`, figures[name].cancun);
  }
}

const option = process.argv[2];
if (process.argv.length > 3 || ![undefined, "--json", "--check", "--write"].includes(option)) {
  console.error("usage: node tools/gas.mjs [--json | --check | --write]");
  process.exit(2);
}
try {
  const figures = await measure();
  if (option === "--json") printJson(figures);
  else if (option === "--check") check(figures);
  else if (option === "--write") {
    fs.writeFileSync(GAS_JSON, `${JSON.stringify(figures, null, 1)}\n`);
    fs.writeFileSync(GAS_MD, GAS_INTRO + table(figures));
  } else process.stdout.write(table(figures));
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
