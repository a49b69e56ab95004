/** Which column of a CSV file is which element of a model's inputs, and what events its rows make. */

import { CsvError } from "./csv.js";
import { describe, parseElement, parseTensor, sizeOf, TextError } from "./tensor_text.js";

/** @typedef {import("./types.js").TensorInfo} TensorInfo */
/** @typedef {import("./tensor_text.js").Tensor} Tensor */
/** @typedef {import("./csv.js").CsvRecord} CsvRecord */

/**
 * Where an input's tensor comes from: a column per element, or one column that holds all of it.
 *
 * @typedef {{input: TensorInfo, columns: number[], isWhole: boolean}} Source
 */

/**
 * @typedef {object} Plan
 * @property {string[]} names  the columns', empty where the file has no header
 * @property {number} width  columns of every row
 * @property {Source[]} sources
 * @property {number} key  the column of the event's key, -1: none
 * @property {string[]} ignored  names of the columns that are not used
 */

const ASIDE = new Set(["", "id", "key", "ts", "time", "timestamp", "date", "datetime", "label", "class"]);
const SHOWN = 6;

/**
 * Whether a first row holds names: a row of values has nothing but numbers and booleans.
 *
 * @param {string[]} fields
 * @returns {boolean}
 */
export function isHeader(fields) {
  return fields.some((field) => !/^\s*([+-]?[\d.]+(e[+-]?\d+)?|true|false|nan)?\s*$/i.test(field));
}

/**
 * Name the elements of an input: x, or x[0], x[1], ...; none where their number is dynamic.
 *
 * @param {TensorInfo} input
 * @returns {string[]}
 */
export function elementsOf(input) {
  if (input.shape.length === 0) return [input.name];
  return Array.from({ length: Math.max(0, sizeOf(input.shape)) }, (_, at) => `${input.name}[${at}]`);
}

/**
 * Find the columns of a model's inputs, by name, or in order where a file has exactly as many columns as are needed.
 *
 * @param {string[]} first  the fields of the first row
 * @param {boolean} hasNames  whether these are names
 * @param {TensorInfo[]} inputs  of a model with a window: one sample of it
 * @param {number} [row]
 * @param {ReadonlyMap<string, number>} [chosen]  columns that the user picked, by element
 * @returns {Plan}
 * @throws {CsvError}
 */
export function planColumns(first, hasNames, inputs, row = 1, chosen = new Map()) {
  const names = hasNames ? first.map((name) => name.trim()) : [];
  const find = finder(names, row);
  const sources = inputs.flatMap((input) => chosenSource(input, chosen) ?? find(input) ?? []);
  const isKey = (/** @type {string} */ name) => name.toLowerCase() === "key" && !inputs.some((x) => x.name === name);
  const key = names.findIndex(isKey);
  const missing = inputs.filter((input) => !input.optional && !sources.some((source) => source.input === input));
  if (missing.length) {
    const aside = (/** @type {number} */ column) => hasNames && ASIDE.has(names[column].toLowerCase());
    const taken = new Set(sources.flatMap((source) => source.columns));
    const all = first.map((_, column) => column).filter((column) => !taken.has(column));
    const rest = all.filter((column) => !aside(column));
    const inOrder = [rest, all].find((columns) => missing.length === 1 && isExactly(missing[0], columns.length));
    if (!inOrder) throw lacking(missing, names, first.length, row);
    const isWhole = sizeOf(missing[0].shape) < 0;
    sources.push({ input: missing[0], columns: inOrder, isWhole: isWhole && inOrder.length === 1 });
  }
  const used = new Set(sources.flatMap((source) => source.columns));
  const ignored = names.filter((_, column) => !used.has(column) && column !== key);
  return { names, width: first.length, sources, key: used.has(key) ? -1 : key, ignored };
}

/**
 * Return what a row makes of an event.
 *
 * @param {CsvRecord} record
 * @param {Plan} plan
 * @param {TensorInfo[]} inputs
 * @returns {{data: Tensor | Record<string, Tensor>, key?: string}}
 * @throws {CsvError}
 */
export function eventOf(record, plan, inputs) {
  const { row, fields } = record;
  if (fields.length !== plan.width) {
    throw new CsvError(`expected ${plan.width} columns, got ${fields.length}`, row);
  }
  const data = /** @type {Record<string, Tensor>} */ ({});
  for (const source of plan.sources) {
    const isLeftOut = source.input.optional && source.columns.every((column) => !fields[column].trim());
    if (!isLeftOut) data[source.input.name] = tensorOf(source, record, plan);
  }
  const isBare = inputs.length === 1 && Object.hasOwn(data, inputs[0].name);
  const event = { data: isBare ? data[inputs[0].name] : data };
  return plan.key < 0 ? event : { ...event, key: fields[plan.key] };
}

/**
 * @param {Source} source
 * @param {CsvRecord} record
 * @param {Plan} plan
 * @returns {Tensor}
 */
function tensorOf({ input, columns, isWhole }, { row, fields }, plan) {
  let column = columns[0];
  try {
    if (isWhole) return parseTensor(fields[column], input);
    const elements = [];
    for (column of columns) elements.push(parseElement(fields[column], input.dtype));
    if (sizeOf(input.shape) >= 0) return input.shape.length ? elements : elements[0];
    const unit = sizeOf(input.shape.filter((n) => n !== null));
    return { shape: input.shape.map((n) => n ?? elements.length / unit), data: elements };
  } catch (error) {
    if (!(error instanceof TextError)) throw error;
    throw new CsvError(error.message, row, column + 1, plan.names[column]);
  }
}

/**
 * @param {TensorInfo} input
 * @param {number} columns
 * @returns {boolean} whether that many columns are the input's elements
 */
function isExactly(input, columns) {
  const size = sizeOf(input.shape);
  if (size >= 0) return columns === size;
  const fixed = input.shape.filter((n) => n !== null);
  const isOpen = input.shape.length - fixed.length === 1 && sizeOf(fixed) > 0;
  return columns === 1 || (isOpen && columns > 0 && columns % sizeOf(fixed) === 0);
}

/**
 * @param {TensorInfo} input
 * @param {ReadonlyMap<string, number>} chosen
 * @returns {Source | undefined}
 */
function chosenSource(input, chosen) {
  const columns = elementsOf(input).map((element) => chosen.get(element) ?? -1);
  return columns.length && !columns.includes(-1) ? { input, columns, isWhole: false } : undefined;
}

/**
 * @param {string[]} names
 * @param {number} row
 * @returns {(input: TensorInfo) => Source | undefined}
 */
function finder(names, row) {
  const plain = names.map(normal);
  const byName = new Map(names.map((name, column) => [name, column]));
  const byPlain = new Map(plain.map((name, column) => [name, column]));
  /** @param {string[]} aliases */
  const find = (aliases) => {
    const column = aliases.map((alias) => byName.get(alias) ?? byPlain.get(normal(alias))).find((c) => c !== undefined);
    if (column !== undefined && names.indexOf(names[column]) !== column) {
      throw new CsvError(`two columns are called '${names[column]}'`, row, column + 1);
    }
    return column;
  };
  return (input) => {
    const whole = find([input.name]);
    if (whole !== undefined) return { input, columns: [whole], isWhole: true };
    const aliases = Array.from({ length: Math.max(0, sizeOf(input.shape)) }, (_, at) => [
      `${input.name}[${at}]`,
      [input.name, ...position(at, /** @type {number[]} */ (input.shape))].join("_"),
      `${input.name}${at}`,
    ]);
    const columns = aliases.map((names) => find(names));
    const absent = columns.findIndex((column) => column === undefined);
    if (!columns.length || columns.every((column) => column === undefined)) return undefined;
    if (absent >= 0) throw new CsvError(`no column for ${input.name}[${absent}]; ${present(names)}`, row);
    return { input, columns: /** @type {number[]} */ (columns), isWhole: false };
  };
}

/** @param {string} name */
function normal(name) {
  return name
    .toLowerCase()
    .replaceAll(/[\s.[\]_-]+/g, "_")
    .replace(/_$/, "");
}

/**
 * @param {number} at
 * @param {number[]} shape
 * @returns {number[]} the index of element `at` in every dimension
 */
function position(at, shape) {
  return shape.map((n, i) => Math.floor(at / shape.slice(i + 1).reduce((a, b) => a * b, 1)) % n);
}

/**
 * @param {TensorInfo[]} missing
 * @param {string[]} names
 * @param {number} width
 * @param {number} row
 */
function lacking(missing, names, width, row) {
  const wanted = missing.map((input) => {
    const elements = elementsOf(input);
    const columns = elements.length > 1 ? `${elements[0]} to ${elements[elements.length - 1]}` : input.name;
    return `${columns} (${describe(input)})`;
  });
  const [input] = missing;
  const size = sizeOf(input.shape);
  const inOrder =
    missing.length === 1 && size > 0 ? `, or exactly ${size} column${size === 1 ? "" : "s"} in order` : "";
  const found = names.length ? present(names) : `the file has ${width} columns without names`;
  return new CsvError(`no columns for ${wanted.join(", ")}: expected these names${inOrder}; ${found}`, row);
}

/** @param {string[]} names */
function present(names) {
  const more = names.length > SHOWN ? ` and ${names.length - SHOWN} more` : "";
  return `the file has ${names
    .slice(0, SHOWN)
    .map((name) => name || "(no name)")
    .join(", ")}${more}`;
}
