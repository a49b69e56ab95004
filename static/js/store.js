import { Ring } from "./ring.js";
import { fits } from "./topics.js";
import { labelText, score, summary } from "./values.js";

/**
 * @typedef {import("./types.js").Alert} Alert
 * @typedef {import("./types.js").Message} Message
 * @typedef {import("./types.js").ModelInfo} ModelInfo
 * @typedef {import("./types.js").Stats} Stats
 * @typedef {import("./types.js").Update} Update
 * @typedef {import("./values.js").Summary} Summary
 * @typedef {"stream" | "stats" | "alert" | "models" | "streams"} News  streams: some came or went
 */

export const TREND_LENGTH = 48;
export const HISTORY_LENGTH = 240; // a minute of $stats
const MOST_ALERTS = 100;
const SHOW_ENDED_MS = 4_000;
const RATE_SECONDS = 5;

/** What is known of one stream. */
export class Stream {
  /** @param {string} topic */
  constructor(topic) {
    const slash = topic.indexOf("/");
    this.topic = topic;
    this.model = topic.slice(0, slash);
    this.key = topic.slice(slash + 1);
    this.haystack = topic.toLowerCase();
    this.label = "";
    this.score = NaN;
    this.n = 0;
    this.ts = 0;
    this.milliseconds = NaN;
    this.isEnded = false;
    this.doubt = 0; // 0: none
    this.revision = 0;
    this.trend = new Ring(TREND_LENGTH);
    this.times = new Ring(TREND_LENGTH);
    this.counts = new Ring(TREND_LENGTH);
  }

  /**
   * @param {Update} update
   * @param {ModelInfo} [info]
   */
  take(update, info) {
    if (update.n < this.n) {
      for (const ring of [this.trend, this.times, this.counts]) ring.clear();
    }
    const isNew = update.n !== this.n || !this.trend.length;
    this.doubt = 0;
    this.isEnded = update.ended === true;
    this.n = update.n;
    this.revision += 1;
    if (!update.outputs) return; // a last update may say no more than that
    this.ts = update.ts;
    this.label = labelText(update.label);
    this.score = score(update, info);
    this.milliseconds = update.us ? update.us.total / 1000 : NaN;
    if (!isNew) return;
    this.trend.push(this.score);
    this.times.push(update.ts);
    this.counts.push(update.n);
  }

  /**
   * @param {number} now  unix seconds of the server
   * @returns {number} predictions per second over the last seconds; 0 for a stream that has fallen silent
   */
  rate(now) {
    const { times, counts } = this;
    if (times.length < 2) return NaN;
    let from = times.length - 2;
    while (from > 0 && times.at(from) > now - RATE_SECONDS) from -= 1;
    const gap = times.at(-1) - times.at(from);
    const silent = now - times.at(-1);
    const mean = gap / (counts.at(-1) - counts.at(from));
    return (counts.at(-1) - counts.at(from)) / (silent > 3 * mean + 1 ? gap + silent : gap);
  }
}

/** The latest of everything that was subscribed, bounded. */
export class Store {
  /** @param {() => number} [now]  unix seconds of this machine */
  constructor(now = () => Date.now() / 1000) {
    this.localTime = now;
    this.skew = Infinity; // this machine's clock less the server's, at most
    /** @type {Map<string, Stream>} */
    this.streams = new Map();
    /** @type {Map<string, ModelInfo>} */
    this.models = new Map();
    this.isListed = false; // the models have been told, be it that there are none
    /** @type {Stats | null} */
    this.stats = null;
    /** @type {Summary & {slowest: string} | null} */
    this.summary = null;
    /** @type {Record<keyof Summary, Ring>} */
    this.history = {
      predictions: new Ring(HISTORY_LENGTH),
      p50: new Ring(HISTORY_LENGTH),
      p99: new Ring(HISTORY_LENGTH),
      sockets: new Ring(HISTORY_LENGTH),
      queue: new Ring(HISTORY_LENGTH),
      batch: new Ring(HISTORY_LENGTH),
      memory: new Ring(HISTORY_LENGTH),
      lag: new Ring(HISTORY_LENGTH),
    };
    this.doubts = 0;
    /** @type {Alert[]} newest first */
    this.alerts = [];
    /** @type {Set<(news: News, message: any) => void>} */
    this.listeners = new Set();
  }

  /**
   * Be told what has come.
   *
   * @param {(news: News, message: any) => void} listener
   * @returns {() => void} which ends that
   */
  listen(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** @returns {number} unix seconds, by the server's clock */
  serverTime() {
    return this.localTime() - (Number.isFinite(this.skew) ? this.skew : 0);
  }

  /** @param {Message} message  from the watch socket */
  take(message) {
    if (message.op === "welcome") {
      this.skew = Infinity;
      this.takeModels(message.models ?? []);
    } else if (message.topic === "$stats") this.#takeStats(message.stats, message.ts);
    else if (message.topic === "$alerts") this.takeAlerts([message.alert]);
    else if (typeof message.topic === "string") this.#takeUpdate(/** @type {Update} */ (message));
  }

  /** @param {ModelInfo[]} models */
  takeModels(models) {
    this.models = new Map(models.map((model) => [model.name, model]));
    this.isListed = true;
    this.#tell("models", models);
  }

  /** @param {Alert[]} alerts  in any order; those that are known already are left out */
  takeAlerts(alerts) {
    const known = new Set(this.alerts.map(identity));
    const fresh = alerts.filter((alert) => !known.has(identity(alert)));
    if (!fresh.length) return;
    this.alerts = [...fresh, ...this.alerts].sort((a, b) => b.ts - a.ts || b.id - a.id).slice(0, MOST_ALERTS);
    this.#tell("alert", fresh);
  }

  /** Forget everything: somebody else may look at the page next. */
  clear() {
    this.skew = Infinity;
    this.streams.clear();
    this.models.clear();
    this.isListed = false;
    this.stats = this.summary = null;
    for (const ring of Object.values(this.history)) ring.clear();
    this.alerts = [];
  }

  /**
   * Doubt the streams of which a snapshot is about to come; those that are not in it are gone.
   *
   * @param {string} pattern
   * @returns {number} the doubt
   */
  doubt(pattern) {
    this.doubts += 1;
    for (const stream of this.streams.values()) {
      if (fits(pattern, stream.topic)) stream.doubt = this.doubts;
    }
    return this.doubts;
  }

  /** @param {number} doubt  which the snapshot has cleared of all streams that live */
  sweep(doubt) {
    const before = this.streams.size;
    for (const stream of this.streams.values()) {
      if (stream.doubt === doubt) this.streams.delete(stream.topic);
    }
    if (this.streams.size !== before) this.#tell("streams", null);
  }

  /** @param {Update} update */
  #takeUpdate(update) {
    this.#learnTime(update.ts);
    let stream = this.streams.get(update.topic);
    const isNew = stream === undefined;
    if (stream === undefined) {
      if (update.ended) return;
      stream = new Stream(update.topic);
      this.streams.set(update.topic, stream);
    }
    stream.take(update, this.models.get(stream.model));
    if (stream.isEnded) this.#forgetSoon(stream);
    if (isNew) this.#tell("streams", null);
    this.#tell("stream", update);
  }

  /** @param {Stream} stream */
  #forgetSoon(stream) {
    setTimeout(() => {
      if (!stream.isEnded || this.streams.get(stream.topic) !== stream) return;
      this.streams.delete(stream.topic);
      this.#tell("streams", null);
    }, SHOW_ENDED_MS);
  }

  /**
   * @param {Stats} stats
   * @param {number} ts
   */
  #takeStats(stats, ts) {
    this.#learnTime(ts);
    this.stats = stats;
    const numbers = summary(stats);
    this.summary = numbers;
    for (const name of /** @type {(keyof Summary)[]} */ (Object.keys(this.history))) this.history[name].push(numbers[name]);
    this.#tell("stats", stats);
  }

  /** @param {number} ts */
  #learnTime(ts) {
    this.skew = Math.min(this.skew, this.localTime() - ts);
  }

  /**
   * @param {News} news
   * @param {any} message
   */
  #tell(news, message) {
    for (const listener of this.listeners) listener(news, message);
  }
}

/**
 * @param {Alert} alert
 * @returns {string} numbers start anew with the server, times do not
 */
function identity(alert) {
  return `${alert.id} ${alert.ts}`;
}
