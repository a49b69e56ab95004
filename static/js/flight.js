/** What a stream has under way, how quickly it may go on, and what was said: the bookkeeping beside the socket. */

/** @typedef {{length: number, hop: number}} WindowInfo */
/** @typedef {{rows: number, key: string | undefined, samples: number, at: number}} Departure */

const RUN_FAILURES = new Set(["deadline_exceeded", "inference_failed"]); // of events that had been accepted
const CATCH_UP_MS = 1_000;
const MOST_ABSORBED = 1024;

/**
 * The unanswered events of a socket. Where the model has a window it follows the windows of all keys, to know which
 * events complete rows and so are answered.
 */
export class Flight {
  /**
   * @param {number} limit  max_in_flight
   * @param {WindowInfo} [window]
   */
  constructor(limit, window) {
    this.limit = limit;
    this.window = window;
    this.rows = 0; // unanswered
    /** @type {Map<number, Departure>} events that may be answered, by id */
    this.departures = new Map();
    /** @type {number[]} ids of the latest events that complete nothing */
    this.absorbed = [];
    /** @type {Map<string | undefined, number>} samples since the window of a key was empty */
    this.positions = new Map();
  }

  /**
   * Whether an event may leave; one that completes more rows than are allowed may when nothing else is under way.
   *
   * @param {number} [samples]
   * @param {string} [key]
   * @returns {boolean}
   */
  hasRoom(samples = 1, key = undefined) {
    const rows = this.#rowsAfter(samples, key);
    return rows === 0 || this.rows === 0 || this.rows + rows <= this.limit;
  }

  /**
   * Take note of an event that left.
   *
   * @param {number} id
   * @param {number} now  milliseconds
   * @param {number} [samples]
   * @param {string} [key]
   */
  depart(id, now, samples = 1, key = undefined) {
    const rows = this.#rowsAfter(samples, key);
    if (this.window) this.positions.set(key, (this.positions.get(key) ?? 0) + samples);
    this.departures.set(id, { rows, key, samples, at: now });
    this.rows += rows;
    if (rows) return;
    this.absorbed.push(id); // which are answered only where they are refused, and that soon
    if (this.absorbed.length > MOST_ABSORBED) this.departures.delete(/** @type {number} */ (this.absorbed.shift()));
  }

  /**
   * Take note of a message of the server's.
   *
   * @param {import("./types.js").Message} message
   * @param {number} now  milliseconds
   * @returns {number} how long its event was under way, in milliseconds; NaN where it is no answer to one
   */
  arrive(message, now) {
    if (message.op === "gap") this.positions.delete(message.key);
    const departure = this.departures.get(message.id);
    if (!departure) return NaN;
    const isRefused = message.error && !RUN_FAILURES.has(message.error.code);
    if (isRefused) this.#takeBack(departure);
    const answered = isRefused ? departure.rows : Math.min(1, departure.rows);
    departure.rows -= answered;
    this.rows -= answered;
    if (!departure.rows) this.departures.delete(message.id);
    return now - departure.at;
  }

  /**
   * Take note that the window of a key is empty.
   *
   * @param {string} [key]
   */
  reset(key = undefined) {
    this.positions.delete(key);
  }

  /** @param {Departure} departure */
  #takeBack({ key, samples }) {
    this.positions.set(key, Math.max(0, (this.positions.get(key) ?? 0) - samples));
  }

  /**
   * @param {number} samples
   * @param {string | undefined} key
   */
  #rowsAfter(samples, key) {
    if (!this.window) return 1;
    const { length, hop } = this.window;
    const position = this.positions.get(key) ?? 0;
    const rowsAt = (/** @type {number} */ p) => (p < length ? 0 : Math.floor((p - length) / hop) + 1);
    return rowsAt(position + samples) - rowsAt(position);
  }
}

/** Tells how many rows of a file are due. What was held up is caught up with for a second at most. */
export class Pace {
  /**
   * @param {number} rate  rows per second; Infinity: at once
   * @param {number} now  milliseconds
   */
  constructor(rate, now) {
    this.rate = rate;
    this.start = now;
    this.taken = 0;
  }

  /**
   * @param {number} now  milliseconds
   * @returns {number}
   */
  due(now) {
    if (this.rate === Infinity) return Infinity;
    const most = 1 + (CATCH_UP_MS * this.rate) / 1000;
    let due = 1 + Math.floor(((now - this.start) * this.rate) / 1000) - this.taken;
    if (due > most) {
      this.start += ((due - Math.floor(most)) * 1000) / this.rate;
      due = Math.floor(most);
    }
    return due;
  }

  /** @param {number} rows */
  take(rows) {
    this.taken += rows;
  }
}

/** @typedef {{direction: "out" | "in" | "note", text: string, at: number}} Entry  `at`: milliseconds */

/** The last messages on the wire, exactly as they were; bounded by number and by size. */
export class WireLog {
  /**
   * @param {number} [mostEntries]
   * @param {number} [mostCharacters]
   */
  constructor(mostEntries = 200, mostCharacters = 2 ** 20) {
    this.mostEntries = mostEntries;
    this.mostCharacters = mostCharacters;
    /** @type {Entry[]} */
    this.entries = [];
    this.characters = 0;
    this.total = 0; // entries that came, ever
    this.missed = 0; // of these, while it was paused
    this.isPaused = false;
  }

  /**
   * @param {Entry["direction"]} direction
   * @param {string} text
   * @param {number} at
   */
  add(direction, text, at) {
    if (this.isPaused) {
      this.missed += 1;
      return;
    }
    this.total += 1;
    this.entries.push({ direction, text, at });
    this.characters += text.length;
    while (
      this.entries.length > this.mostEntries ||
      (this.characters > this.mostCharacters && this.entries.length > 1)
    ) {
      this.characters -= /** @type {Entry} */ (this.entries.shift()).text.length;
    }
  }

  clear() {
    this.entries = [];
    this.characters = 0;
    this.missed = 0;
  }

  /** @returns {string} a message per line, with an arrow for its direction */
  text() {
    const arrows = { out: "→ ", in: "← ", note: "# " };
    return this.entries.map(({ direction, text }) => arrows[direction] + text).join("\n");
  }
}
