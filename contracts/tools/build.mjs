// Compiles the contracts and writes, or compares, the artifacts that the rest of the project reads.
//
//   node tools/build.mjs build    compile and write artifacts/
//   node tools/build.mjs check    compile and fail if artifacts/ differs in a byte
import fs from "node:fs";
import path from "node:path";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const require = createRequire(import.meta.url);

/** Sources whose contracts become artifacts: everything below these folders. */
const SOURCE_DIRS = ["src", "test/mocks"];

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
  "Ownable",
  "PromptConsumer",
  "SubscriptionWords",
  "TokenTransfer",
  "WalletCode",
  "console",
]);

/** In the Cancun build the sources here stand in for the ones of the same file name. */
const CANCUN_SUBSTITUTES = "cancun";

/** The compiler's reminder to clear transient storage, which the guard does. */
const TRANSIENT_STORAGE_WARNING = "2394";

/** The coordinators; they have a Cancun build of their own. */
const COORDINATORS = ["Coordinator", "EIP712Coordinator"];

const OUTPUTS = ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"];

/**
 * Sources below these folders are compiled by the older code generator: their code need not be as small, and the newer one takes
 * a minute longer for them.
 */
const LEGACY_DIRS = ["src/examples/", "src/verifiers/"];

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

/** The text of every source; for Cancun with its substitutes. */
function readSources(evmVersion) {
  const sources = {};
  for (const name of SOURCE_DIRS.flatMap(listSources)) {
    const substitute = path.join(root, CANCUN_SUBSTITUTES, path.basename(name));
    const substituted = evmVersion === "cancun" && fs.existsSync(substitute);
    sources[name] = { content: fs.readFileSync(substituted ? substitute : path.join(root, name), "utf8") };
  }
  return sources;
}

/** Runs the compiler; warnings count as errors. */
function run(solc, sources, settings, what) {
  const output = JSON.parse(solc.compile(JSON.stringify({ language: "Solidity", sources, settings })));
  const problems = (output.errors ?? []).filter((e) => e.severity !== "info" && e.errorCode !== TRANSIENT_STORAGE_WARNING);
  for (const problem of problems) process.stderr.write(`${problem.formattedMessage}\n`);
  if (problems.length > 0) throw new Error(`${problems.length} warning(s) or error(s): ${what}`);
  return output;
}

/** Each source must compile when it is the first that somebody imports: import cycles through base contracts would break that. */
function checkEachAlone(solc) {
  const sources = readSources("paris");
  for (const name of Object.keys(sources).filter((n) => n.startsWith("src/"))) {
    run(solc, sources, { outputSelection: { [name]: { "*": ["abi"] } } }, `${name} alone`);
  }
}

function compile(solc, { evmVersion, viaIR, runs }, outputSelection) {
  const settings = { ...SETTINGS, optimizer: { enabled: true, runs }, viaIR, evmVersion, outputSelection };
  const output = run(solc, readSources(evmVersion), settings, evmVersion);

  const artifacts = new Map();
  for (const [sourceName, contracts] of Object.entries(output.contracts)) {
    for (const [contractName, contract] of Object.entries(contracts)) {
      if (SKIPPED.has(contractName) || contract.evm === undefined) continue;
      const artifact = {
        contractName,
        sourceName,
        abi: contract.abi,
        bytecode: `0x${contract.evm.bytecode.object}`,
        deployedBytecode: `0x${contract.evm.deployedBytecode.object}`,
        compiler: { version: solc.version(), evmVersion, optimizerRuns: runs, viaIR },
      };
      if (artifacts.has(contractName)) throw new Error(`two contracts are called ${contractName}`);
      artifacts.set(contractName, artifact);
    }
  }
  return artifacts;
}

/** All artifact files, by path below artifacts/. */
export function compileAll() {
  const solc = require("solc");
  checkEachAlone(solc);
  const files = new Map();
  const put = (name, artifact) => files.set(name, `${JSON.stringify(artifact, null, 1)}\n`);
  const isLegacy = (name) => LEGACY_DIRS.some((dir) => name.startsWith(dir));
  const coordinators = COORDINATORS.map((name) => `src/${name}.sol`);
  const rest = SOURCE_DIRS.flatMap(listSources).filter((name) => !coordinators.includes(name));
  const select = (names) => Object.fromEntries(names.map((name) => [name, { "*": OUTPUTS }]));
  const paris = { evmVersion: "paris", viaIR: true, runs: RUNS.others };
  const small = { ...paris, runs: RUNS.coordinators };
  const builds = [
    compile(solc, small, select(coordinators)),
    compile(solc, paris, select(rest.filter((name) => !isLegacy(name)))),
    compile(solc, { ...paris, viaIR: false }, select(rest.filter(isLegacy))),
  ];
  for (const [name, artifact] of builds.flatMap((build) => [...build])) {
    if (files.has(`${name}.json`)) throw new Error(`two contracts are called ${name}`);
    put(`${name}.json`, artifact);
  }
  for (const [name, artifact] of compile(solc, { ...small, evmVersion: "cancun" }, select(coordinators))) {
    put(`cancun/${name}.json`, artifact);
  }
  return files;
}

function artifactFiles(dir = "") {
  const base = path.join(root, "artifacts", dir);
  if (!fs.existsSync(base)) return [];
  return fs.readdirSync(base, { withFileTypes: true }).flatMap((entry) => {
    const name = dir === "" ? entry.name : `${dir}/${entry.name}`;
    return entry.isDirectory() ? artifactFiles(name) : [name];
  });
}

function build() {
  const files = compileAll();
  for (const stale of artifactFiles().filter((name) => !files.has(name))) {
    fs.rmSync(path.join(root, "artifacts", stale));
  }
  for (const [name, text] of files) {
    const target = path.join(root, "artifacts", name);
    fs.mkdirSync(path.dirname(target), { recursive: true });
    if (!fs.existsSync(target) || fs.readFileSync(target, "utf8") !== text) fs.writeFileSync(target, text);
  }
  console.log(`${files.size} artifacts are up to date`);
}

function check() {
  const files = compileAll();
  const committed = new Set(artifactFiles());
  const different = [...files].filter(([name, text]) => {
    return !committed.has(name) || fs.readFileSync(path.join(root, "artifacts", name), "utf8") !== text;
  });
  const stale = [...committed].filter((name) => !files.has(name));
  for (const [name] of different) console.error(`artifacts/${name} does not agree with the sources`);
  for (const name of stale) console.error(`artifacts/${name} has no source`);
  if (different.length + stale.length > 0) {
    throw new Error("the artifacts are out of date: run `node tools/build.mjs build` and commit the result");
  }
  console.log(`${files.size} artifacts agree with the sources`);
}

const commands = { build, check };
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const command = commands[process.argv[2]];
  if (command === undefined || process.argv.length !== 3) {
    console.error("usage: node tools/build.mjs build|check");
    process.exit(2);
  }
  try {
    command();
  } catch (error) {
    console.error(error.message);
    process.exit(1);
  }
}
