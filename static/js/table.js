/**
 * What a table of thousands of streams shows: which, in which order, and which of them lie in view.
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
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  const found = [];
  for (const stream of streams) {
    if (words.every((word) => stream.haystack.includes(word) || stream.label.toLowerCase().includes(word))) found.push(stream);
  }
  return found;
}

/**
 * Sort in place: numbers by size with unknown ones last either way, texts as people count; ties by topic, so that equal
 * rows keep their places.
 *
 * @param {Stream[]} streams
 * @param {Order} order
 * @param {number} now  unix seconds of the server
 * @returns {Stream[]}
 */
export function sorted(streams, { column, descending }, now) {
  const value = VALUES[column];
  const sign = descending ? -1 : 1;
  const keyed = streams.map((stream) => ({ stream, value: value(stream, now) }));
  keyed.sort((a, b) => sign * compare(a.value, b.value, sign) || collator.compare(a.stream.topic, b.stream.topic));
  return keyed.map(({ stream }) => stream);
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
