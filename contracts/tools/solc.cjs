#!/usr/bin/env node
// Speaks the two phrases of the native compiler that forge uses: --version, and --standard-json from stdin to stdout.
"use strict";
const fs = require("node:fs");
const solc = require("solc");

const args = process.argv.slice(2);
if (args.includes("--version")) {
  process.stdout.write(`solc, the solidity compiler\nVersion: ${solc.version()}\n`);
} else if (args.includes("--standard-json")) {
  const output = Buffer.from(solc.compile(fs.readFileSync(0, "utf8")));
  // A pipe takes what it has room for; go on until all is written.
  for (let at = 0; at < output.length; ) {
    try {
      at += fs.writeSync(1, output, at);
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
    }
  }
} else {
  process.stderr.write("usage: solc.cjs --version | --standard-json\n");
  process.exit(2);
}
