/**
 * What is read off a prediction.
 *
 * @typedef {import("./types.js").ModelInfo} ModelInfo
 * @typedef {import("./types.js").Stats} Stats
 * @typedef {import("./types.js").Timing} Timing
 * @typedef {import("./types.js").Update} Update
 */

/**
 * The elements of a tensor, as long as they are numbers (or null, which stands for what JSON has not).
 *
 * @param {unknown} tensor  a number, or lists of lists of them
 * @param {number} [most]  how many at most
 * @returns {number[]} NaN for null; empty where the tensor holds anything else
 */
export function flat(tensor, most = 4096) {
  /** @type {number[]} */
  const found = [];
  /** @param {unknown} part @returns {boolean} */
  const walk = (part) => {
    if (found.length >= most) return true;
    if (Array.isArray(part)) return part.every(walk);
    if (typeof part === "boolean") part = Number(part);
    if (part !== null && typeof part !== "number") return false;
    found.push(part === null ? NaN : part);
    return true;
  };
  return walk(tensor) ? found : [];
}

/**
 * @param {Update["label"]} label
 * @returns {string} of several outputs: one after the other
 */
export function labelText(label) {
  if (label === undefined || label === null) return "";
  return typeof label === "string" ? label : Object.values(label).join(", ");
}

/**
 * The one number that stands for a prediction: the best score where classes are named, else the first element.
 *
 * @param {Update} update
 * @param {ModelInfo} [info]
 * @returns {number} NaN where there is none
 */
export function score(update, info) {
  const outputs = update.outputs ?? {};
  const labelled = Object.keys(info?.labels ?? {})[0];
  const name = labelled !== undefined && labelled in outputs ? labelled : Object.keys(outputs)[0];
  if (name === undefined) return NaN;
  const values = flat(outputs[name]);
  if (!values.length) return NaN;
  return update.label === undefined ? values[0] : values.reduce((best, value) => (value > best ? value : best));
}

/**
 * The names of a tensor's elements.
 *
 * @param {string} name  of the tensor
 * @param {number} length  how many elements
 * @param {string[]} [labels]
 * @returns {string[]}
 */
export function elementNames(name, length, labels) {
  if (labels && labels.length === length) return labels;
  return length === 1 ? [name] : Array.from({ length }, (_, index) => `${name}[${index}]`);
}

export const MOST_SERIES = 8; // lines in one chart, and colours

/**
 * @typedef {{kind: "strip" | "profile", lines: number[][]}} Picture
 *
 * How a tensor is drawn: a few numbers as a strip chart over time (a line per element, of which this is the newest
 * point); more of them, or a window `[samples, channels]`, as they stand (a line per channel, over the position).
 *
 * @param {unknown} tensor  as it came
 * @param {(number | null)[]} [shape]  where the tensor may have come flat
 * @returns {Picture | null} null where it holds no numbers
 */
export function picture(tensor, shape = []) {
  const values = flat(tensor);
  if (!values.length) return null;
  const sizes = dimensions(tensor);
  if (sizes.length < 2 && shape.length === 2) {
    const channels = shape[1] ?? values.length / (shape[0] ?? NaN);
    if (Number.isInteger(values.length / channels)) sizes.splice(0, 1, values.length / channels, channels);
  }
  if (sizes.length === 2 && sizes[0] > 1 && sizes[1] <= 4 * MOST_SERIES) {
    const channels = sizes[1];
    const lines = Array.from({ length: Math.min(channels, MOST_SERIES) }, (_, channel) =>
      values.filter((_value, index) => index % channels === channel),
    );
    return { kind: "profile", lines };
  }
  if (values.length <= MOST_SERIES) return { kind: "strip", lines: values.map((value) => [value]) };
  return { kind: "profile", lines: [values] };
}

/**
 * @param {unknown} tensor
 * @returns {number[]}
 */
function dimensions(tensor) {
  return Array.isArray(tensor) ? [tensor.length, ...dimensions(tensor[0])] : [];
}

/**
 * @typedef {{name: string, start: number, length: number}} Span  microseconds
 *
 * The way of a prediction: socket, queue, run, socket. What is neither queue nor run is the way back.
 *
 * @param {Timing} us
 * @returns {Span[]} one after the other; they add up to the total
 */
export function waterfall({ queue, run, total }) {
  const whole = Math.max(0, total, queue + run);
  return [
    { name: "Queue", start: 0, length: queue },
    { name: "Run", start: queue, length: run },
    { name: "Delivery", start: queue + run, length: whole - queue - run },
  ];
}

/**
 * The mean batch over the histogram's seconds, no further off than its bounds allow.
 *
 * @param {Record<string, number>} batchRows  batches by upper bound of their rows
 * @param {number} rows  that ran in the same time, as far as it is known
 * @returns {number} NaN where nothing ran
 */
export function meanBatch(batchRows, rows) {
  let batches = 0;
  let least = 0;
  let most = 0;
  let below = 0;
  const bounds = Object.keys(batchRows).map((bound) => (bound === "+Inf" ? Infinity : Number(bound)));
  for (const bound of bounds.sort((a, b) => a - b)) {
    const found = batchRows[bound === Infinity ? "+Inf" : String(bound)];
    batches += found;
    least += found * (below + 1);
    if (found) most += found * bound;
    below = bound;
  }
  return batches ? Math.min(most, Math.max(least, rows)) / batches : NaN;
}

/** @typedef {Record<"predictions" | "p50" | "p99" | "sockets" | "queue" | "batch" | "memory" | "lag", number>} Summary */

export const WINDOW_SECONDS = 5; // what the server's rates and quantiles are over

/**
 * The numbers of the overview; a quantile is that of the slowest model. NaN where nothing ran.
 *
 * @param {Stats} stats
 * @returns {Summary & {slowest: string}}
 */
export function summary(stats) {
  let slowest = "";
  let p50 = NaN;
  let p99 = NaN;
  let queue = 0;
  /** @type {Record<string, number>} */
  const batches = {};
  for (const model of stats.models) {
    queue += model.queue_depth;
    for (const [bound, found] of Object.entries(model.batch_rows)) batches[bound] = (batches[bound] ?? 0) + found;
    if (model.total_ms && !(model.total_ms.p99 <= p99)) {
      ({ p50, p99 } = model.total_ms);
      slowest = model.name;
    }
  }
  return {
    predictions: stats.predictions_per_second,
    p50,
    p99,
    sockets: stats.sockets,
    queue,
    batch: meanBatch(batches, stats.predictions_per_second * WINDOW_SECONDS),
    memory: stats.memory_bytes,
    lag: stats.loop_lag_ms,
    slowest,
  };
}
