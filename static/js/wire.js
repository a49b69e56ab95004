/** A socket to `/v1/models/{model}/stream` that keeps a log, and comes back by itself while it is wanted. */

import { backoff } from "./backoff.js";
import { toJson } from "./tensor_text.js";
import { TicketedSocket } from "./ticketed_socket.js";

/** @typedef {import("./types.js").Message} Message */
/** @typedef {import("./ticketed_socket.js").Socket} Socket */
/** @typedef {import("./flight.js").WireLog} WireLog */

/**
 * closed: not wanted, or closed for good, `reason` says why; waiting: until the next attempt.
 *
 * @typedef {"closed" | "connecting" | "open" | "waiting"} Phase
 * @typedef {{phase: Phase, reason: string, retryAt: number}} State  retryAt: the clock's milliseconds
 *
 * @typedef {object} Welcome
 * @property {string} session
 * @property {{max_message_bytes: number, max_in_flight: number}} limits
 * @property {import("./types.js").ModelInfo} model
 *
 * @typedef {object} Listener
 * @property {(state: State) => void} onState
 * @property {(message: Message, now: number) => void} onMessage
 * @property {() => void} onLost  what was unanswered will not be
 *
 * @typedef {object} World  what it needs of the world; tests bring their own
 * @property {() => Socket} open
 * @property {() => Promise<string>} whyRefused  empty where it may be tried again
 * @property {() => number} now  milliseconds
 * @property {(run: () => void, milliseconds: number) => any} after
 * @property {(timer: any) => void} cancel
 * @property {() => number} random
 */

const FULL_BYTES = 1 << 20; // unsent; the network is slower than the page
const NORMAL = 1000;
const NEVER_OPENED = 1006;
const FINAL = new Set([1002, 1003, 1007, 1008, 1009, 1010]);
const MEANINGS = /** @type {Record<number, string>} */ ({
  1000: "the socket was closed",
  1001: "the server is shutting down",
  1002: "the server took what this page sent for a breach of the WebSocket protocol",
  1006: "the connection was cut without a word",
  1007: "the server was sent text that is not UTF-8",
  1009: "the message was larger than the server takes (max_message_bytes)",
  1011: "a fault of the server; its log tells more",
  4008: "this page read too slowly",
  4010: "an operator closed the socket",
  4012: "this page did not answer a ping in time",
  4013: "this page asked for too much",
  4014: "the server has too much to do",
  4500: "the API key or token is not valid any more",
  4501: "too many malformed messages in a row",
  4503: "the API key or token does not allow this",
});

/**
 * Say in words why a socket was closed.
 *
 * @param {number} code
 * @param {string} [reason]  the server's
 * @returns {string}
 */
export function closeWords(code, reason = "") {
  const meaning = MEANINGS[code] ?? (code >= 4000 ? "the server closed the socket" : "the socket was closed");
  return `${meaning} (${code}${reason && reason !== meaning ? `: ${reason}` : ""})`;
}

/**
 * @param {number} code
 * @returns {boolean} whether trying again as we are is of no use
 */
export function isFinal(code) {
  return FINAL.has(code) || (code >= 4500 && code < 5000);
}

/**
 * Return the address of a model's stream.
 *
 * @param {string} base  the page's address
 * @param {string} model
 * @param {string} [version]
 * @returns {URL}
 */
export function streamUrl(base, model, version) {
  const url = new URL(`/v1/models/${encodeURIComponent(model)}/stream`, base);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  if (version) url.searchParams.set("version", version);
  url.searchParams.set("timings", "1");
  return url;
}

/**
 * Return the world of a page.
 *
 * @param {import("./account.js").Account} account
 * @param {string} model
 * @param {string} [version]
 * @returns {World}
 */
export function browserWorld(account, model, version) {
  return {
    open: () => new TicketedSocket(account, streamUrl(location.href, model, version)),
    whyRefused: async () => {
      const query = version ? `?version=${encodeURIComponent(version)}` : "";
      const reply = await account.fetch(`/v1/models/${encodeURIComponent(model)}${query}`).catch(() => null);
      if (!reply || reply.ok || reply.status === 503) return "";
      const { error } = await reply.json().catch(() => ({}));
      return error?.message ?? `the server refused with ${reply.status}`;
    },
    now: () => performance.now(),
    after: (run, milliseconds) => setTimeout(run, milliseconds),
    cancel: (timer) => clearTimeout(timer),
    random: Math.random,
  };
}

export class Wire {
  /**
   * @param {World} world
   * @param {Listener} listener
   * @param {WireLog} log
   */
  constructor(world, listener, log) {
    this.world = world;
    this.listener = listener;
    this.log = log;
    /** @type {State} */
    this.state = { phase: "closed", reason: "", retryAt: 0 };
    /** @type {Welcome | null} */
    this.welcome = null;
    /** @type {Socket | null} */
    this.socket = null;
    /** @type {Set<{resolve: (welcome: Welcome) => void, reject: (error: Error) => void}>} */
    this.waiters = new Set();
    this.attempt = 0;
    this.notBefore = 0;
    /** @type {any} */
    this.retry = null;
  }

  /**
   * Connect unless that is done; from then on the socket comes back when it is lost.
   *
   * @returns {Promise<Welcome>} rejects where the server refuses
   */
  ready() {
    if (this.welcome) return Promise.resolve(this.welcome);
    if (this.state.phase === "closed") this.#connect();
    return new Promise((resolve, reject) => this.waiters.add({ resolve, reject }));
  }

  /** @returns {boolean} whether what is sent now would only pile up */
  get isFull() {
    return (this.socket?.bufferedAmount ?? 0) > FULL_BYTES;
  }

  /**
   * Send a message. The socket must be open, as it is after `ready`.
   *
   * @param {Message} message
   * @returns {boolean} false where the connection is lost
   * @throws {Error} where the server would close the socket for the message's size
   */
  send(message) {
    if (!this.welcome || !this.socket) return false;
    const text = toJson(message);
    const most = this.welcome.limits.max_message_bytes;
    if (text.length > most) throw new Error(`the message has ${text.length} bytes, the server takes at most ${most}`);
    this.socket.send(text);
    this.log.add("out", text, this.world.now());
    return true;
  }

  /** Close the socket for good, without a word to the listener. */
  close() {
    this.world.cancel(this.retry);
    const { socket } = this;
    this.socket = this.welcome = null;
    socket?.close(NORMAL);
    this.#fail("the socket was closed");
    this.state = { phase: "closed", reason: "", retryAt: 0 };
  }

  #connect() {
    const socket = this.world.open();
    this.socket = socket;
    this.#tell("connecting", this.state.reason);
    socket.onmessage = (event) => socket === this.socket && this.#read(event.data);
    socket.onclose = (event) => socket === this.socket && this.#lost(event.code, event.reason);
  }

  /** @param {string} data */
  #read(data) {
    const now = this.world.now();
    this.log.add("in", data, now);
    const frame = JSON.parse(data);
    for (const message of Array.isArray(frame) ? frame : [frame]) {
      if (message.op === "welcome") {
        this.welcome = message;
        this.attempt = 0;
        this.#tell("open", "");
        for (const { resolve } of this.waiters) resolve(message);
        this.waiters.clear();
      } else if (message.op === "goaway") this.notBefore = now + message.reconnect_in_ms;
      this.listener.onMessage(message, now);
    }
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  async #lost(code, reason) {
    const wasOpen = this.welcome !== null;
    const words = closeWords(code, reason);
    this.socket = this.welcome = null;
    this.log.add("note", wasOpen ? `closed: ${words}` : `not connected: ${words}`, this.world.now());
    if (wasOpen) this.listener.onLost();
    if (isFinal(code)) return this.#end(words);
    const delay = Math.max(0, this.notBefore - this.world.now()) + backoff(this.attempt, this.world.random);
    this.attempt += 1;
    this.notBefore = 0;
    this.#tell("waiting", words, this.world.now() + delay);
    this.retry = this.world.after(() => this.#connect(), delay);
    if (wasOpen || code !== NEVER_OPENED) return;
    const { retry } = this;
    const why = await this.world.whyRefused(); // a browser does not tell what a refused handshake was answered
    if (!why || retry !== this.retry || this.state.phase === "closed") return;
    this.world.cancel(retry);
    this.#abandon();
    this.#end(why);
  }

  /** Forget an attempt that may have begun meanwhile. */
  #abandon() {
    const { socket } = this;
    this.socket = null;
    socket?.close(NORMAL);
  }

  /** @param {string} reason */
  #end(reason) {
    this.#tell("closed", reason);
    this.#fail(reason);
  }

  /** @param {string} reason */
  #fail(reason) {
    for (const { reject } of this.waiters) reject(new Error(reason));
    this.waiters.clear();
  }

  /**
   * @param {Phase} phase
   * @param {string} reason
   * @param {number} [retryAt]
   */
  #tell(phase, reason, retryAt = 0) {
    this.state = { phase, reason, retryAt };
    this.listener.onState(this.state);
  }
}
