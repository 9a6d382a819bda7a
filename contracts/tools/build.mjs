// Compiles the contracts and writes, or compares, what the rest of the project reads: the artifacts and the Rust bindings.
//
//   node tools/build.mjs build    compile, and write artifacts/ and bindings/src/generated.rs
//   node tools/build.mjs check    compile, and fail if one of them differs in a byte
//
// Both fail if a source does not compile on its own, or if something public has no notice.
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { renderBindings } from "./bindings.mjs";
import { compileJobs } from "./compiler.mjs";
import { findUndocumented, structDocs } from "./natspec.mjs";

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

/** Sources whose contracts become artifacts: everything below these folders. */
const SOURCE_DIRS = ["src", "test/mocks", "reference"];

/** Where else everything public must have a notice. */
const DOCUMENTED_DIRS = ["src", "script", "test/mocks"];

/** Libraries and bases that nothing outside needs. (Bases that a node calls are kept for their ABI; they have no code.) */
const SKIPPED = new Set([
  "Answer",
  "BaseVerifier",
  "ConsumerCall",
  "Coordinated",
  "DeliveryGuard",
  "ERC721",
  "ERC721Receiver",
  "Groth16",
  "InboxStore",
  "Keys",
  "PaymentCall",
  "PromptConsumer",
  "SubscriptionWords",
  "TokenTransfer",
  "WalletCode",
  "console",
]);

/** In the Cancun build the sources here stand in for the ones of the same file name. */
const CANCUN_SUBSTITUTES = "cancun";

/** The coordinators; they have a Cancun build of their own. */
const COORDINATORS = ["Coordinator", "EIP712Coordinator"];

/** What is written. */
const ARTIFACTS = "artifacts";
const BINDINGS = "bindings/src/generated.rs";

const OUTPUTS = ["abi", "userdoc", "evm.bytecode.object", "evm.deployedBytecode.object"];

/** What the artifacts are made from; their order is that of how long they take. */
const BUILDS = ["others", "cancun", "coordinators", "legacy"];

/**
 * Sources whose names start like this are compiled by the older code generator: their code need not be as small, and the newer one takes
 * a minute longer for them.
 */
const LEGACY = ["src/examples/", "src/verifiers/", "test/mocks/Scripted"];

/** How often the optimizer expects code to run: the coordinators are large and are to stay cheap to deploy. */
const RUNS = { coordinators: 400, others: 20_000 };

const SETTINGS = {
  metadata: { bytecodeHash: "none", appendCBOR: false },
};

function listSources(dir) {
  const found = [];
  for (const entry of fs.readdirSync(path.join(root, dir), { withFileTypes: true })) {
    const name = `${dir}/${entry.name}`;
    if (entry.isDirectory()) {
      found.push(...listSources(name));
    } else if (name.endsWith(".sol")) {
      found.push(name);
    }
  }
  return found.sort();
}

/** The text of every source below `dirs`; for Cancun with its substitutes. */
function readSources(dirs, evmVersion = "paris") {
  const sources = {};
  for (const name of dirs.flatMap(listSources)) {
    const substitute = path.join(root, CANCUN_SUBSTITUTES, path.basename(name));
    const substituted = evmVersion === "cancun" && fs.existsSync(substitute);
    sources[name] = { content: fs.readFileSync(substituted ? substitute : path.join(root, name), "utf8") };
  }
  return sources;
}

/** The inputs of the compiler that say what a source is, not what it becomes. */
function checkJob() {
  const sources = readSources(SOURCE_DIRS);
  // Each source must compile when it is the first that somebody imports: import cycles through base contracts would break that.
  const alone = Object.keys(sources).filter((name) => name.startsWith("src/"));
  const inputs = alone.map((name) => inputOf(sources, { outputSelection: { [name]: { "*": ["abi"] } } }));
  const documented = readSources([...DOCUMENTED_DIRS, CANCUN_SUBSTITUTES, "test/lib"]);
  return { what: "each source alone", inputs: [inputOf(documented, { outputSelection: { "*": { "": ["ast"] } } }), ...inputs] };
}

const inputOf = (sources, settings) => ({ language: "Solidity", sources, settings });

/** The settings of each of `BUILDS`. */
function buildSettings() {
  const isLegacy = (name) => LEGACY.some((prefix) => name.startsWith(prefix));
  const coordinators = COORDINATORS.map((name) => `src/${name}.sol`);
  const rest = SOURCE_DIRS.flatMap(listSources).filter((name) => !coordinators.includes(name));
  const settings = ({ evmVersion = "paris", viaIR = true, runs }, names) => ({
    ...SETTINGS,
    optimizer: { enabled: true, runs },
    viaIR,
    evmVersion,
    outputSelection: Object.fromEntries(names.map((name) => [name, { "*": OUTPUTS }])),
  });
  return {
    others: settings({ runs: RUNS.others }, rest.filter((name) => !isLegacy(name))),
    cancun: settings({ runs: RUNS.coordinators, evmVersion: "cancun" }, coordinators),
    coordinators: settings({ runs: RUNS.coordinators }, coordinators),
    legacy: settings({ runs: RUNS.others, viaIR: false }, rest.filter(isLegacy)),
  };
}

/** The contracts of one build: `[name, { artifact, userdoc }]`. */
function contractsOf(output, { evmVersion, viaIR, optimizer }, version) {
  const found = [];
  for (const [sourceName, contracts] of Object.entries(output.contracts)) {
    for (const [contractName, contract] of Object.entries(contracts)) {
      if (SKIPPED.has(contractName) || contract.evm === undefined) continue;
      const artifact = {
        contractName,
        sourceName,
        abi: contract.abi,
        bytecode: `0x${contract.evm.bytecode.object}`,
        deployedBytecode: `0x${contract.evm.deployedBytecode.object}`,
        compiler: { version, evmVersion, optimizerRuns: optimizer.runs, viaIR },
      };
      found.push([contractName, { artifact, userdoc: contract.userdoc }]);
    }
  }
  return found;
}

/** Every file that is made from the sources: its text, by its path below contracts/. */
export async function compileAll() {
  const settings = buildSettings();
  const jobs = BUILDS.map((name) => {
    return { what: `the build «${name}»`, inputs: [inputOf(readSources(SOURCE_DIRS, settings[name].evmVersion), settings[name])] };
  });
  const { version, outputs } = await compileJobs([...jobs, checkJob()]);

  const { sources } = outputs[BUILDS.length][0];
  const asts = Object.fromEntries(Object.entries(sources).map(([name, { ast }]) => [name, ast]));
  const undocumented = findUndocumented(Object.fromEntries(Object.entries(asts).filter(([name]) => !name.startsWith("test/lib/"))));
  if (undocumented.length > 0) throw new Error(`not everything public says what it is:\n  ${undocumented.join("\n  ")}`);

  const files = new Map();
  const contracts = new Map();
  BUILDS.forEach((build, i) => {
    for (const [name, contract] of contractsOf(outputs[i][0], settings[build], version)) {
      const file = build === "cancun" ? `${ARTIFACTS}/cancun/${name}.json` : `${ARTIFACTS}/${name}.json`;
      if (files.has(file)) throw new Error(`two contracts are called ${name}`);
      files.set(file, `${JSON.stringify(contract.artifact, null, 1)}\n`);
      if (build !== "cancun") contracts.set(name, { abi: contract.artifact.abi, userdoc: contract.userdoc });
    }
  });
  const names = [...files.keys()].map((file) => file.slice(ARTIFACTS.length + 1, -".json".length)).sort();
  files.set(BINDINGS, renderBindings(contracts, structDocs(asts), names));
  return files;
}

/** The committed files that this script writes, also those that it would not write any more. */
function committedFiles(dir = ARTIFACTS) {
  const base = path.join(root, dir);
  const below = !fs.existsSync(base)
    ? []
    : fs.readdirSync(base, { withFileTypes: true }).flatMap((entry) => {
        const name = `${dir}/${entry.name}`;
        return entry.isDirectory() ? committedFiles(name) : [name];
      });
  return dir === ARTIFACTS && fs.existsSync(path.join(root, BINDINGS)) ? [...below, BINDINGS] : below;
}

async function build() {
  const files = await compileAll();
  for (const stale of committedFiles().filter((name) => !files.has(name))) {
    fs.rmSync(path.join(root, stale));
  }
  for (const [name, text] of files) {
    const target = path.join(root, name);
    fs.mkdirSync(path.dirname(target), { recursive: true });
    if (!fs.existsSync(target) || fs.readFileSync(target, "utf8") !== text) fs.writeFileSync(target, text);
  }
  console.log(`${files.size - 1} artifacts and the bindings are up to date`);
}

async function check() {
  const files = await compileAll();
  const committed = new Set(committedFiles());
  const different = [...files].filter(([name, text]) => {
    return !committed.has(name) || fs.readFileSync(path.join(root, name), "utf8") !== text;
  });
  const stale = [...committed].filter((name) => !files.has(name));
  for (const [name] of different) console.error(`contracts/${name} does not agree with the sources`);
  for (const name of stale) console.error(`contracts/${name} has no source`);
  if (different.length + stale.length > 0) {
    throw new Error("what is committed is out of date: run `cargo xtask contracts build` and commit the result");
  }
  console.log(`${files.size - 1} artifacts and the bindings agree with the sources`);
}

const commands = { build, check };
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const command = commands[process.argv[2]];
  if (command === undefined || process.argv.length !== 3) {
    console.error("usage: node tools/build.mjs build|check");
    process.exit(2);
  }
  try {
    await command();
  } catch (error) {
    console.error(error.message);
    process.exit(1);
  }
}
