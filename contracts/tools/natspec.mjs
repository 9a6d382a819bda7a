// What the sources say about themselves: every public thing must say something, and the bindings repeat it.

/** Declarations that must carry a notice wherever they stand. */
const DECLARATIONS = {
  ContractDefinition: "contract",
  EnumDefinition: "enum",
  ErrorDefinition: "error",
  EventDefinition: "event",
  StructDefinition: "struct",
};

/** Kinds of function that the compiler takes no notice for, or that are described by what they are. */
const UNDESCRIBED_FUNCTIONS = new Set(["constructor", "fallback", "receive"]);

const isPublic = (node) => node.visibility === "public" || node.visibility === "external";

/** What kind of public thing a node is; undefined if it is none. */
function kindOf(node) {
  if (DECLARATIONS[node.nodeType] !== undefined) return DECLARATIONS[node.nodeType];
  if (node.nodeType === "FunctionDefinition" && isPublic(node) && !UNDESCRIBED_FUNCTIONS.has(node.kind)) return "function";
  if (node.nodeType === "VariableDeclaration" && node.stateVariable && isPublic(node)) return "getter";
  return undefined;
}

function* walk(node) {
  if (node === null || typeof node !== "object") return;
  if (node.nodeType !== undefined) yield node;
  for (const [key, child] of Object.entries(node)) {
    if (key !== "documentation") yield* walk(child);
  }
}

const textOf = (node) => (typeof node.documentation === "string" ? node.documentation : (node.documentation?.text ?? ""));

/** The tags of a comment, in order: `{ tag, text }`; what stands before the first tag is a notice. */
function tagsOf(node) {
  const tags = [];
  for (const line of textOf(node).split("\n")) {
    const found = /^\s*@([a-z:-]+)\s?(.*)$/.exec(line);
    if (found) tags.push({ tag: found[1], text: found[2].trim() });
    else if (tags.length > 0) tags.at(-1).text = `${tags.at(-1).text} ${line.trim()}`.trim();
    else if (line.trim() !== "") tags.push({ tag: "notice", text: line.trim() });
  }
  return tags;
}

const noticeOf = (node) => tagsOf(node).find(({ tag }) => tag === "notice")?.text;

/** Public things without a notice (an inherited one counts), one line each; `asts` by source name. */
export function findUndocumented(asts) {
  const missing = [];
  for (const [sourceName, ast] of Object.entries(asts)) {
    for (const node of walk(ast)) {
      const kind = kindOf(node);
      if (kind === undefined) continue;
      const described = tagsOf(node).some(({ tag, text }) => (tag === "notice" || tag === "inheritdoc") && text !== "");
      if (!described) missing.push(`${sourceName}: ${kind} ${node.name} has no @notice`);
    }
  }
  return missing;
}

/** The notices of structs, and the texts of their fields, by the struct's name. */
export function structDocs(asts) {
  const docs = new Map();
  for (const ast of Object.values(asts)) {
    for (const node of walk(ast)) {
      if (node.nodeType !== "StructDefinition") continue;
      const fields = new Map();
      for (const { tag, text } of tagsOf(node)) {
        const found = tag === "param" ? /^(\S+)\s+(.*)$/s.exec(text) : null;
        if (found) fields.set(found[1], found[2]);
      }
      docs.set(node.name, { notice: noticeOf(node), fields });
    }
  }
  return docs;
}
