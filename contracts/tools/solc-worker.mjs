// Compiles in a thread of its own, because the compiler uses one core: takes a list of inputs, answers with the list of outputs.
import { createRequire } from "node:module";
import { parentPort, workerData } from "node:worker_threads";

const solc = createRequire(import.meta.url)("solc");

parentPort.postMessage({
  version: solc.version(),
  outputs: workerData.map((input) => JSON.parse(solc.compile(JSON.stringify(input)))),
});
