// Writes the Rust bindings of `contracts/bindings`: what it shows of the contracts, as input of the macro `sol!`, and their artifacts.

/** Interfaces in Rust, and the contracts whose functions and events they hold. */
const INTERFACES = [
  { name: "Registry", contracts: ["Registry"] },
  { name: "Coordinator", contracts: ["EIP712Coordinator"] },
  { name: "Inbox", contracts: ["Inbox"] },
  { name: "Reader", contracts: ["Reader"] },
  { name: "Ownable", contracts: ["Ownable"] },
  { name: "Fee", contracts: ["Fee"], without: ["Ownable"] },
  { name: "Wallet", contracts: ["Wallet"], without: ["Ownable"] },
  { name: "WalletFactory", contracts: ["WalletFactory"], without: ["Wallet"] },
  { name: "Verifier", contracts: ["IVerifier"] },
  { name: "Consumer", contracts: ["BaseConsumer", "Delegator", "Allowlist"] },
  { name: "IrisConsumer", contracts: ["IrisConsumer"], without: ["CallbackConsumer"] },
  { name: "PlainConsumer", contracts: ["PlainConsumer"], without: ["CallbackConsumer", "Delegator"] },
  { name: "MockVerifier", contracts: ["MockVerifier"], without: ["IVerifier"] },
  { name: "ScriptedConsumer", contracts: ["ScriptedConsumer"], without: ["CallbackConsumer", "Delegator"] },
  { name: "ScriptedVerifier", contracts: ["ScriptedVerifier"], without: ["IVerifier"] },
  { name: "ScriptedToken", contracts: ["ScriptedToken"] },
];

/** Contracts whose errors a transaction of a node can end in. */
const WITH_ERRORS = ["EIP712Coordinator", "Inbox", "Fee", "WalletFactory", "BaseConsumer", "Allowlist"];

/** Names for the parameters of getters of mappings, which have none in the older Solidity that consumers may use. */
const PARAMETERS = {
  "delegateCreatedIds(bytes32)": ["key"],
  "fee(address)": ["token"],
  "isSupportedToken(address)": ["token"],
  "maxSubscriberNonce(address)": ["owner"],
  "nodeResponded(bytes32)": ["key"],
  "redundancyCount(bytes32)": ["key"],
  "reservedPayments(uint32)": ["subscriptionId"],
};

const HEAD = `//! The contracts, as their artifacts describe them. Written by \`cargo xtask contracts build\`; do not edit.

use alloy_sol_types::sol;

sol! {
    #![sol(extra_derives(Debug, PartialEq, Eq))]
`;

/** One constant for each artifact, which costs a binary nothing unless it is used. */
function renderArtifacts(names) {
  const constants = names.map((name) => {
    const constant = name.replace(/([a-z\d])([A-Z])/g, "$1_$2").replace(/([A-Z])([A-Z][a-z])/g, "$1_$2").replace("/", "_").toUpperCase();
    const text = `pub const ${constant}: &str =`;
    const path = `include_str!("../artifacts/${name}.json");`;
    return text.length + path.length + 5 > 100 ? `    ${text}\n        ${path}\n` : `    ${text} ${path}\n`;
  });
  return `\n/// The committed artifacts: ABI and code, as JSON.\npub mod artifacts {\n${constants.join("")}}\n`;
}

/** Rust's name of a type; structs are collected in `structs`. */
function typeOf(entry, structs) {
  if (!entry.type.startsWith("tuple")) return entry.type;
  const name = entry.internalType.replace(/^struct /, "").replace(/\[.*$/, "").split(".").pop();
  structs.set(name, entry.components);
  return name + entry.type.slice("tuple".length);
}

const canonical = (entry) =>
  entry.type.startsWith("tuple") ? `(${entry.components.map(canonical).join(",")})${entry.type.slice("tuple".length)}` : entry.type;

const signatureOf = (entry) => `${entry.name}(${entry.inputs.map(canonical).join(",")})`;

function parameters(inputs, structs, names = []) {
  return inputs
    .map((input, i) => `${typeOf(input, structs)}${input.indexed ? " indexed" : ""} ${input.name || names[i] || ""}`.trim())
    .join(", ");
}

/** A doc comment, broken at the width of the house. */
function comment(text, indent) {
  if (!text) return "";
  const width = 100 - indent.length;
  const lines = [""];
  // Brackets would be taken for links.
  for (const word of text.replace(/([[\]])/g, "\\$1").split(/\s+/)) {
    if (lines.at(-1) !== "" && lines.at(-1).length + word.length + 5 > width) lines.push("");
    lines.push(`${lines.pop()} ${word}`.trim());
  }
  return lines.map((line) => `${indent}/// ${line}\n`).join("");
}

/** One function, event or error. */
function declaration(entry, structs) {
  const head = `${entry.type} ${entry.name}(${parameters(entry.inputs, structs, PARAMETERS[signatureOf(entry)])})`;
  if (entry.type !== "function") return `${head};`;
  const mutability = entry.stateMutability === "nonpayable" ? "" : ` ${entry.stateMutability}`;
  const returned = entry.outputs.length === 0 ? "" : ` returns (${parameters(entry.outputs, structs)})`;
  return `${head} external${mutability}${returned};`;
}

function noticeOf(entry, docs) {
  const place = { function: docs?.methods, event: docs?.events, error: docs?.errors }[entry.type];
  const found = place?.[signatureOf(entry)];
  return Array.isArray(found) ? found[0]?.notice : found?.notice;
}

function renderInterface(name, notice, entries, structs) {
  const items = entries.map(({ entry, text }) => `${comment(text, "        ")}        ${declaration(entry, structs)}\n`);
  return `\n${comment(notice, "    ")}    interface ${name} {\n${items.join("")}    }\n`;
}

/**
 * The Rust source. `contracts`: by name, `{ abi, userdoc }`; `structDocs`: what the function of that name in natspec.mjs found;
 * `artifacts`: the names of all artifacts.
 */
export function renderBindings(contracts, structDocs, artifacts) {
  const contract = (name) => {
    const found = contracts.get(name);
    if (found === undefined) throw new Error(`the bindings need the artifact of ${name}`);
    return found;
  };
  const structs = new Map();
  const interfaces = INTERFACES.map(({ name, contracts: from, without = [] }) => {
    const seen = new Set(without.flatMap((base) => contract(base).abi.map((entry) => entry.name && signatureOf(entry))));
    const entries = [];
    for (const { abi, userdoc } of from.map(contract)) {
      for (const entry of abi.filter(({ type }) => type === "function" || type === "event")) {
        if (seen.has(signatureOf(entry))) continue;
        seen.add(signatureOf(entry));
        entries.push({ entry, text: noticeOf(entry, userdoc) });
      }
    }
    return renderInterface(name, contract(from[0]).userdoc.notice, entries, structs);
  });

  const errors = new Map();
  for (const { abi, userdoc } of WITH_ERRORS.map(contract)) {
    for (const entry of abi.filter(({ type }) => type === "error")) {
      if (!errors.has(signatureOf(entry))) errors.set(signatureOf(entry), { entry, text: noticeOf(entry, userdoc) });
    }
  }
  const sorted = [...errors.values()].sort((a, b) => (a.entry.name < b.entry.name ? -1 : 1));
  const errorList = renderInterface("Errors", "Every error that a transaction of a node can end in.", sorted, structs);

  const declared = new Map();
  // Structs may hold structs: go on until none is new.
  while ([...structs.keys()].some((name) => !declared.has(name))) {
    for (const [name, components] of [...structs]) {
      if (declared.has(name)) continue;
      const { notice, fields } = structDocs.get(name) ?? { fields: new Map() };
      const lines = components.map(
        (field) => `${comment(fields.get(field.name), "        ")}        ${typeOf(field, structs)} ${field.name};\n`,
      );
      declared.set(name, `\n${comment(notice, "    ")}    struct ${name} {\n${lines.join("")}    }\n`);
    }
  }
  const structList = [...declared].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, text]) => text);
  const body = [...structList, ...interfaces, errorList].join("").replace(/^\n/, "");
  return `${HEAD}\n${body}}\n${renderArtifacts(artifacts)}`;
}
