// The little of the ABI that the gas measurements need.
import { createRequire } from "node:module";

const { keccak256 } = createRequire(import.meta.url)("js-sha3");

const word = (value) => BigInt.asUintN(256, BigInt(value)).toString(16).padStart(64, "0");

function bytesOf(hex) {
  const digits = hex.replace(/^0x/, "");
  const words = Math.ceil(digits.length / 64);
  return word(digits.length / 2) + digits.padEnd(words * 64, "0");
}

const isDynamic = (type) => (Array.isArray(type) ? type.some(isDynamic) : type === "bytes" || type === "string");

/** Encodes `values` of `types`; a tuple is a list of types, its value a list of values. */
export function encode(types, values) {
  const size = (type) => (Array.isArray(type) && !isDynamic(type) ? type.reduce((sum, t) => sum + size(t), 0) : 32);
  let tailAt = types.reduce((sum, type) => sum + size(type), 0);
  let head = "";
  let tail = "";
  types.forEach((type, i) => {
    const value = values[i];
    if (!isDynamic(type)) {
      head += Array.isArray(type) ? encode(type, value) : word(value === true ? 1 : value === false ? 0 : value);
      return;
    }
    let body;
    if (type === "bytes") body = bytesOf(value);
    else if (type === "string") body = bytesOf(Buffer.from(value).toString("hex"));
    else throw new Error(`cannot encode ${type}`);
    head += word(tailAt);
    tail += body;
    tailAt += body.length / 2;
  });
  return head + tail;
}

export const keccak = (hex) => keccak256(Buffer.from(hex.replace(/^0x/, ""), "hex"));

/** Calldata of a call of `signature`, whose parameter types are given apart (tuples as lists). */
export function call(signature, types, values) {
  return `0x${keccak256(signature).slice(0, 8)}${encode(types, values)}`;
}
