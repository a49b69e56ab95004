/**
 * Tensors as people write them: `1, 2, 3`, one row per line, or nested lists in brackets; and back to JSON.
 *
 * Integers stay exact beyond 2**53: they are `bigint` from the text to the wire.
 */

/** @typedef {import("./types.js").TensorInfo} TensorInfo */
/** @typedef {number | bigint | boolean | string} Element */
/** @typedef {Element | any[]} Nested  lists of lists of elements */
/** @typedef {Nested | {shape: number[], data: Nested}} Tensor */

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
const INTEGER = /^[+-]?\d+$/;
const TOKEN = /\s*(?:([[\]])|("(?:[^"\\]|\\.)*")|([,;])|([^\s,;[\]"]+))/suy;
const MAX_SHOWN = 40;
const LARGEST = /** @type {Record<string, number>} */ ({ float16: 65520, float32: 2 ** 128 - 2 ** 103 });
const NOUNS = { float: "a number", int: "an integer", bool: "true or false", string: "a text" };

/** What a text that is no tensor is told; `at` is the element that is at fault, where it is one. */
export class TextError extends Error {
  /**
   * @param {string} message
   * @param {number} [at]
   */
  constructor(message, at) {
    super(message);
    this.at = at;
  }
}

/**
 * Return what kind of elements a type has.
 * @param {string} dtype
 * @returns {"float" | "int" | "bool" | "string"}
 */
export function kindOf(dtype) {
  if (dtype === "bool" || dtype === "string") return dtype;
  return dtype.startsWith("int") || dtype.startsWith("uint") ? "int" : "float";
}

/**
 * Return how a tensor is written in messages: `float32[100, 6]`, `?` for what is dynamic.
 * @param {{dtype: string, shape: (number | null)[]}} spec
 */
export function describe({ dtype, shape }) {
  return `${dtype}[${shape.map((n) => n ?? "?").join(", ")}]`;
}

/**
 * Return the number of elements, -1 where it is dynamic.
 * @param {(number | null)[]} shape
 */
export function sizeOf(shape) {
  return shape.reduce((/** @type {number} */ size, n) => (n === null || size < 0 ? -1 : size * n), 1);
}

/**
 * Return a text in quotes, cut where it is long.
 * @param {string} text
 */
export function quoted(text) {
  return `'${text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text}'`;
}

/**
 * Return the element that `text` is. Throws `TextError` that says what was expected.
 * @param {string} text
 * @param {string} dtype
 * @returns {Element}
 */
export function parseElement(text, dtype) {
  const kind = kindOf(dtype);
  if (kind === "string") return text;
  const word = text.trim();
  const expected = `expected ${NOUNS[kind]}, got ${word ? quoted(word) : "nothing"}`;
  if (kind === "bool") {
    if (/^(true|1)$/i.test(word)) return true;
    if (/^(false|0)$/i.test(word)) return false;
    throw new TextError(expected);
  }
  if (kind === "int") {
    if (!INTEGER.test(word)) throw new TextError(expected);
    return checkedInteger(BigInt(word.replace(/^\+/, "")), dtype);
  }
  if (!NUMBER.test(word)) {
    if (/^[+-]?(nan|inf|infinity)$/i.test(word)) throw new TextError(`${expected}: JSON has none of these`);
    if (/^[+-]?\d+,\d+$/.test(word)) throw new TextError(`${expected}: decimals are written with a point`);
    throw new TextError(expected);
  }
  const number = Number(word);
  if (Math.abs(number) >= (LARGEST[dtype] ?? Infinity)) throw new TextError(`${quoted(word)} does not fit ${dtype}`);
  return number;
}

/**
 * @param {bigint} value
 * @param {string} dtype
 */
function checkedInteger(value, dtype) {
  const bits = Number(dtype.replace(/^u?int/, ""));
  const fitting = dtype.startsWith("u") ? BigInt.asUintN(bits, value) : BigInt.asIntN(bits, value);
  if (fitting !== value) throw new TextError(`${quoted(String(value))} does not fit ${dtype}`);
  return value;
}

/**
 * Return the tensor that `text` is, as an event may carry it. Throws `TextError`.
 *
 * A text without brackets is a flat list; strings may also stand one per line. Where the shape has one dynamic
 * dimension a flat list tells how long that is; where it has more, brackets must tell.
 * @param {string} text
 * @param {TensorInfo} spec
 * @returns {Tensor}
 */
export function parseTensor(text, spec) {
  if (spec.shape.length === 0) return parseElement(text, spec.dtype);
  const nested = parseList(text, spec.dtype);
  const shape = shapeOf(nested);
  const flat =
    shape.length === 1 ? /** @type {Element[]} */ (nested) : /** @type {Element[]} */ (nested.flat(Infinity));
  if (shape.length > 1 || spec.shape.length === 1) {
    const fits = shape.length === spec.shape.length && spec.shape.every((n, i) => n === null || n === shape[i]);
    if (fits) return nested;
    if (shape.length > 1) throw new TextError(`expected ${describe(spec)}, got shape [${shape.join(", ")}]`);
  }
  const size = sizeOf(spec.shape);
  if (size >= 0) {
    if (flat.length !== size) throw new TextError(`expected ${countOf(size, spec.dtype)}, got ${flat.length}`);
    return flat;
  }
  const unit = sizeOf(spec.shape.filter((n) => n !== null));
  if (spec.shape.filter((n) => n === null).length > 1 || !unit) {
    throw new TextError(`expected nested lists for ${describe(spec)}, such as [[1, 2], [3, 4]]`);
  }
  if (flat.length % unit) throw new TextError(`expected a multiple of ${unit} elements, got ${flat.length}`);
  return { shape: spec.shape.map((n) => n ?? flat.length / unit), data: flat };
}

/**
 * Return the samples that `text` is, and their number. Throws `TextError`.
 * @param {string} text
 * @param {TensorInfo} sample what one sample is
 * @returns {{data: Nested, count: number}}
 */
export function parseSamples(text, sample) {
  const nested = parseList(text, sample.dtype);
  const shape = shapeOf(nested);
  const width = sizeOf(sample.shape);
  const size = shape.reduce((a, b) => a * b, 1);
  const isOne = shape.join() === sample.shape.join();
  if (shape.length > 1 && !isOne && shape.slice(1).join() !== sample.shape.join()) {
    throw new TextError(`expected samples of shape [${sample.shape.join(", ")}], got [${shape.join(", ")}]`);
  }
  if (!size || size % width) throw new TextError(`expected ${countOf(width, sample.dtype)} per sample, got ${size}`);
  return { data: nested, count: size / width };
}

/**
 * Return a tensor, or a message that holds some, as JSON.
 * @param {unknown} value
 * @returns {string}
 */
export function toJson(value) {
  if (typeof value === "bigint") return String(value);
  if (Object.is(value, -0)) return "-0.0";
  if (Array.isArray(value)) return `[${value.map(toJson).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const fields = Object.entries(value).filter(([, field]) => field !== undefined);
  return `{${fields.map(([name, field]) => `${JSON.stringify(name)}:${toJson(field)}`).join(",")}}`;
}

/**
 * @param {number} count
 * @param {string} dtype
 */
export function countOf(count, dtype) {
  const noun = { float: "number", int: "integer", bool: "boolean", string: "text" }[kindOf(dtype)];
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/**
 * @param {string} text
 * @param {string} dtype
 * @returns {Nested[]}
 */
function parseList(text, dtype) {
  const trimmed = text.trim();
  if (dtype === "string" && !trimmed.startsWith("[")) return text ? text.replace(/\r?\n$/, "").split(/\r?\n/) : [];
  /** @type {Nested[]} */
  const root = [];
  const open = [root];
  let count = 0;
  for (const { bracket, value, quote } of tokens(trimmed)) {
    const list = open[open.length - 1];
    if (bracket === "[") {
      /** @type {Nested[]} */
      const inner = [];
      list.push(inner);
      open.push(inner);
    } else if (bracket === "]") {
      open.pop();
      if (!open.length) throw new TextError("a ']' without its '['");
    } else {
      list.push(element(value, dtype, quote, count));
      count += 1;
    }
  }
  if (open.length > 1) throw new TextError("a '[' without its ']'");
  return trimmed.startsWith("[") && root.length === 1 ? /** @type {Nested[]} */ (root[0]) : root;
}

/**
 * @param {string} text
 * @param {string} dtype
 * @param {boolean} quote
 * @param {number} at
 */
function element(text, dtype, quote, at) {
  try {
    if (!quote) {
      if (dtype === "string") throw new TextError(`expected a text in double quotes, got ${quoted(text)}`);
      return parseElement(text, dtype);
    }
    if (dtype !== "string") throw new TextError(`expected ${NOUNS[kindOf(dtype)]}, got ${quoted(text)}`);
    return /** @type {string} */ (JSON.parse(text));
  } catch (error) {
    const why = error instanceof TextError ? error.message : `expected a text in double quotes, got ${quoted(text)}`;
    throw new TextError(`element ${at}: ${why}`, at);
  }
}

/**
 * @param {string} text
 * @returns {Generator<{bracket: string, value: string, quote: boolean}>}
 */
function* tokens(text) {
  TOKEN.lastIndex = 0;
  for (let from = 0; from < text.length; from = TOKEN.lastIndex) {
    TOKEN.lastIndex = from;
    const found = TOKEN.exec(text);
    if (!found) {
      if (!text.slice(from).trim()) return;
      throw new TextError(`expected a list, got ${quoted(text.slice(from).trim())}`);
    }
    const [, bracket = "", string, separator, word] = found;
    if (!separator) yield { bracket, value: string ?? word ?? "", quote: string !== undefined };
  }
}

/**
 * Return the shape of nested lists. Throws `TextError` where they are ragged.
 * @param {Nested} nested
 * @returns {number[]}
 */
function shapeOf(nested) {
  if (!Array.isArray(nested)) return [];
  const [first, ...rest] = nested.map(shapeOf);
  if (first === undefined) return [0];
  const other = rest.findIndex((shape) => shape.join() !== first.join());
  if (other >= 0) {
    const got = rest[other].length ? `shape [${rest[other].join(", ")}]` : "a single element";
    const expected = first.length ? `shape [${first.join(", ")}]` : "a single element";
    throw new TextError(`lists of different lengths: item ${other + 1} has ${got}, item 0 ${expected}`);
  }
  return [nested.length, ...first];
}
