/** A model that is tried: its socket, what is in flight, and what came back. */

import { Flight, Pace, WireLog } from "./flight.js";
import { Wire } from "./wire.js";

/** @typedef {import("./types.js").ModelInfo} ModelInfo */
/** @typedef {import("./types.js").Message} Message */

/**
 * @typedef {{name: string, message: Message, ms: number}} Answer  `ms`: from the event that it answers; NaN: unknown
 * @typedef {{event: {data: unknown, key?: string}, row: number}} Item  of a stream, and its row in the file
 */

/**
 * @typedef {object} Counts
 * @property {number} sent  events
 * @property {number} predictions
 * @property {number} errors
 * @property {number} lost  rows that were unanswered when the connection was lost
 */

const AT_ONCE = 100; // events before the page may draw
const TICK_MS = 16;

/** What ended a stream early. */
export class Interrupted extends Error {}

export class TrySession {
  /**
   * @param {ModelInfo} model
   * @param {import("./wire.js").World} world
   */
  constructor(model, world) {
    this.model = model;
    this.log = new WireLog();
    this.world = world;
    const listener = {
      onState: () => this.onChange(),
      onMessage: (/** @type {Message} */ message, /** @type {number} */ now) => this.#came(message, now),
      onLost: () => this.#lost(),
    };
    this.wire = new Wire(world, listener, this.log);
    this.flight = new Flight(1, model.window);
    /** @type {Counts} */
    this.counts = { sent: 0, predictions: 0, errors: 0, lost: 0 };
    this.id = 0;
    this.run = { from: Infinity, to: -Infinity }; // ids of the latest stream: those of its rows, counted from `from`
    this.generation = 0; // of the connection
    this.isRunning = false;
    this.isStopped = false;
    /** @type {Set<() => void>} */
    this.wakers = new Set();
    /** @type {() => void} */
    this.onChange = () => {};
    /** @type {(answer: Answer) => void} */
    this.onAnswer = () => {};
  }

  /**
   * Send one event. Rejects where the server cannot be reached or refuses.
   *
   * @param {{data: unknown, key?: string}} event
   * @param {number} samples
   */
  async send(event, samples) {
    await this.wire.ready();
    this.#send(this.id + 1, event, samples);
  }

  /** Have the server forget the samples of a key. */
  async reset(/** @type {string | undefined} */ key = undefined) {
    await this.wire.ready();
    this.#reset(key);
  }

  /**
   * Send events at a rate, and no more than may be in flight; return once all are answered.
   *
   * @param {AsyncIterable<Item[]>} batches
   * @param {number} rate  events per second; Infinity: as the answers allow
   * @throws {Interrupted} where it was stopped, or the connection was lost
   */
  async stream(batches, rate) {
    await this.wire.ready();
    const { generation } = this;
    this.isRunning = true;
    this.isStopped = false;
    this.run = { from: this.id, to: Infinity };
    try {
      await this.#sendAll(batches, rate, generation);
      while (this.flight.rows) await this.#turn(generation);
    } finally {
      this.isRunning = false;
      this.run.to = this.id;
      this.onChange();
    }
  }

  /** End a stream after the event that it is at. */
  stop() {
    this.isStopped = true;
    this.#wake();
  }

  close() {
    this.stop();
    this.onChange = this.onAnswer = () => {};
    this.wire.close();
  }

  /**
   * @param {AsyncIterable<Item[]>} batches
   * @param {number} rate
   * @param {number} generation
   */
  async #sendAll(batches, rate, generation) {
    const { from } = this.run;
    const pace = new Pace(rate, this.world.now());
    /** @type {Set<string | undefined>} keys whose windows are empty: each stream begins anew */
    const begun = new Set();
    for await (const batch of batches) {
      for (const [at, { event, row }] of batch.entries()) {
        if (at % AT_ONCE === AT_ONCE - 1) await this.#turn(generation, 0);
        while (pace.due(this.world.now()) < 1 || this.wire.isFull || !this.flight.hasRoom(1, event.key)) {
          await this.#turn(generation);
        }
        this.#check(generation);
        if (this.model.window && !begun.has(event.key)) this.#reset(event.key);
        begun.add(event.key);
        pace.take(1);
        this.#send(from + row, event, 1);
      }
      this.#check(generation);
    }
  }

  /** @param {number} generation */
  #check(generation) {
    if (this.isStopped) throw new Interrupted("stopped");
    if (generation !== this.generation) throw new Interrupted("the connection was lost");
  }

  /**
   * Wait until something comes, or for some milliseconds.
   *
   * @param {number} generation
   * @param {number} [milliseconds]
   */
  async #turn(generation, milliseconds = TICK_MS) {
    this.#check(generation);
    await new Promise((/** @type {(value?: unknown) => void} */ resolve) => {
      const timer = this.world.after(resolve, milliseconds);
      this.wakers.add(() => {
        this.world.cancel(timer);
        resolve();
      });
    });
    this.wakers.clear();
    this.#check(generation);
  }

  #wake() {
    for (const wake of this.wakers) wake();
  }

  /**
   * @param {number} id
   * @param {{data: unknown, key?: string}} event
   * @param {number} samples
   */
  #send(id, event, samples) {
    this.id = id;
    if (!this.wire.send({ id, ...event })) throw new Interrupted("the connection was lost");
    this.flight.depart(id, this.world.now(), samples, event.key);
    this.counts.sent += 1;
    this.onChange();
  }

  /** @param {string | undefined} key */
  #reset(key) {
    this.wire.send({ op: "reset", key });
    this.flight.reset(key);
    this.onChange();
  }

  /**
   * @param {Message} message
   * @param {number} now
   */
  #came(message, now) {
    if (message.op === "welcome") this.flight = new Flight(message.limits.max_in_flight, this.model.window);
    const ms = this.flight.arrive(message, now);
    if (message.error) this.counts.errors += 1;
    else if (message.outputs) this.counts.predictions += 1;
    if (message.error || message.outputs) {
      const { from, to } = this.run;
      const name =
        message.id > from && message.id <= to ? `row ${message.id - from}` : `event ${message.id ?? message.seq}`;
      this.onAnswer({ name, message, ms });
    }
    this.onChange();
    this.#wake();
  }

  #lost() {
    this.generation += 1;
    this.counts.lost += this.flight.rows;
    this.flight = new Flight(1, this.model.window);
    this.#wake();
  }
}
