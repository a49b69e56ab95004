/**
 * What a table of thousands of rows shows: which, in which order, and which of them lie in view.
 *
 * @typedef {import("./store.js").Stream} Stream
 * @typedef {"key" | "model" | "label" | "score" | "rate" | "latency" | "age"} Column
 * @typedef {{column: Column, descending: boolean}} Order
 */

/** @type {Record<Column, (stream: Stream, now: number) => number | string>} */
const VALUES = {
  key: (stream) => stream.key,
  model: (stream) => stream.model,
  label: (stream) => stream.label,
  score: (stream) => stream.score,
  rate: (stream, now) => stream.rate(now),
  latency: (stream) => stream.milliseconds,
  age: (stream, now) => now - stream.ts,
};

const collator = new Intl.Collator("en", { numeric: true });

/**
 * @param {Iterable<Stream>} streams
 * @param {string} filter  words, all of which the topic or the label must hold
 * @returns {Stream[]}
 */
export function filtered(streams, filter) {
  const isFound = finder(filter);
  return [...streams].filter((stream) => isFound([stream.haystack, stream.label]));
}

/**
 * @param {string} filter  words
 * @returns {(texts: string[]) => boolean} whether each of the words is in one of the texts
 */
export function finder(filter) {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  return (texts) => words.every((word) => texts.some((text) => text.toLowerCase().includes(word)));
}

/**
 * @param {Stream[]} streams
 * @param {Order} order
 * @param {number} now  unix seconds of the server
 * @returns {Stream[]}
 */
export function sorted(streams, { column, descending }, now) {
  const value = VALUES[column];
  return sortedBy(streams, (stream) => value(stream, now), descending, (stream) => stream.topic);
}

/**
 * Sort: numbers by size with unknown ones last either way, texts as people count; ties by name, so that equal rows keep
 * their places.
 *
 * @template T
 * @param {T[]} rows
 * @param {(row: T) => number | string} value
 * @param {boolean} descending
 * @param {(row: T) => string} name
 * @returns {T[]}
 */
export function sortedBy(rows, value, descending, name) {
  const sign = descending ? -1 : 1;
  const keyed = rows.map((row) => ({ row, value: value(row) }));
  keyed.sort((a, b) => sign * compare(a.value, b.value, sign) || collator.compare(name(a.row), name(b.row)));
  return keyed.map(({ row }) => row);
}

/**
 * @param {number | string} a
 * @param {number | string} b
 * @param {number} sign
 * @returns {number}
 */
function compare(a, b, sign) {
  if (typeof a === "string" || typeof b === "string") return collator.compare(String(a), String(b));
  if (Number.isNaN(a) || Number.isNaN(b)) return sign * (Number(Number.isNaN(a)) - Number(Number.isNaN(b)));
  return a - b;
}

/**
 * Which rows lie in view.
 *
 * @param {number} scrolled  pixels
 * @param {number} height  of the view, pixels
 * @param {number} row  height of a row, pixels
 * @param {number} length  how many rows there are
 * @param {number} [spare]  rows more at either end
 * @returns {{first: number, last: number}} the last is excluded
 */
export function inView(scrolled, height, row, length, spare = 4) {
  const first = Math.min(Math.max(0, Math.floor(scrolled / row) - spare), length);
  return { first, last: Math.max(first, Math.min(length, Math.ceil((scrolled + height) / row) + spare)) };
}
