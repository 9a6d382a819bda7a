// Measures what whole transactions cost, on anvil, and keeps the table of it.
//
//   node tools/gas.mjs            print the table
//   node tools/gas.mjs --json     print one JSON object per line: measure, value, unit, baseline
//   node tools/gas.mjs --check    fail if a figure is above the committed table (gas.json), or the table is not that of gas.json
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

function table(figures) {
  const group = (n) => (n === undefined ? "–" : n.toString().replace(/\B(?=(\d{3})+$)/g, ","));
  const lines = [
    "| measure | what | reference | Paris | against reference | Cancun | floor |",
    "|---|---|---:|---:|---:|---:|---:|",
  ];
  for (const { name, what, baseline, floor } of MEASURES) {
    const { paris, cancun, calldata } = figures[name];
    const change = baseline === undefined ? "–" : `${(((paris - baseline) / baseline) * 100).toFixed(1)} %`;
    lines.push(`| \`${name}\` | ${what} | ${group(baseline)} | ${group(paris)} | ${change} | ${group(cancun)} | ${group(floor === undefined ? undefined : floor + calldata)} |`);
  }
  return `${lines.join("\n")}\n`;
}

const GAS_INTRO = `# Gas

Gas of whole transactions (intrinsic gas, calldata and refunds included) on anvil, with a consumer whose receive hook does nothing.
The output is 32 bytes, input and proof are empty. Every account, wallet and allowance that a payment touches is neither fresh nor
emptied. Written by \`node tools/gas.mjs --write\`; \`--check\` fails when a figure rises above this table.

The floor (for Paris) is what remains if nothing but intrinsic gas, calldata, storage words, events, coin transfers and first calls to
other accounts is paid for: see \`tools/gas-measures.mjs\`. Above it are decoding, checks, hashing, memory, second calls, and the forwarding
code of wallets. The reference's figures of paid deliveries fit only the second node of an interval, so that is what they are set beside;
the first node pays for one more new word.

`;

function check(figures) {
  const committed = JSON.parse(fs.readFileSync(GAS_JSON, "utf8"));
  const worse = [];
  for (const { name } of MEASURES) {
    for (const build of ["paris", "cancun"]) {
      const found = figures[name][build];
      const bound = committed[name]?.[build];
      if (bound === undefined || found > bound) worse.push(`${name} (${build}): ${found}, committed ${bound}`);
    }
  }
  if (fs.readFileSync(GAS_MD, "utf8") !== GAS_INTRO + table(committed)) worse.push("GAS.md is not the table of gas.json");
  if (worse.length > 0) throw new Error(`gas rose or the table is stale:\n  ${worse.join("\n  ")}`);
  console.log("no figure is above the committed table");
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
