// Runs the compiler, in as many threads as there are cores.
import os from "node:os";
import { Worker } from "node:worker_threads";

/** The compiler's reminder to clear transient storage, which the guard does. */
const TRANSIENT_STORAGE_WARNING = "2394";

/** Runs one job, a list of inputs, in a thread. */
function runJob({ what, inputs }) {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL("./solc-worker.mjs", import.meta.url), { workerData: inputs });
    worker.once("message", resolve);
    worker.once("error", reject);
    worker.once("exit", (code) => reject(new Error(`${what}: the compiler ended with ${code}`)));
  });
}

/** Warnings count as errors. */
function insistOnSuccess(output, what) {
  const problems = (output.errors ?? []).filter((e) => e.severity !== "info" && e.errorCode !== TRANSIENT_STORAGE_WARNING);
  for (const problem of problems) process.stderr.write(`${problem.formattedMessage}\n`);
  if (problems.length > 0) throw new Error(`${problems.length} warning(s) or error(s): ${what}`);
}

/**
 * Compiles. A job is `{ what, inputs }`: a name for messages, and inputs in the compiler's standard JSON. Answers with the compiler's
 * version and, for each job, the list of its outputs. Put the longest jobs first.
 */
export async function compileJobs(jobs) {
  const results = new Array(jobs.length);
  let next = 0;
  const workOff = async () => {
    while (next < jobs.length) {
      const index = next++;
      results[index] = await runJob(jobs[index]);
      for (const output of results[index].outputs) insistOnSuccess(output, jobs[index].what);
    }
  };
  await Promise.all(Array.from({ length: Math.min(os.availableParallelism?.() ?? os.cpus().length, jobs.length) }, workOff));
  return { version: results[0].version, outputs: results.map((result) => result.outputs) };
}
