import { backoff } from "./backoff.js";

/** @typedef {import("./types.js").Message} Message */
/** @typedef {import("./ticketed_socket.js").Socket} Socket */
/** @typedef {{hz?: number, inputs?: boolean}} Wish */

/**
 * connecting: an attempt is under way; live: the server has said welcome; waiting: until the next attempt;
 * asleep: the page is hidden, nothing is subscribed; away: the server is not to be asked for anything.
 *
 * @typedef {"connecting" | "live" | "waiting" | "asleep" | "away"} Phase
 * @typedef {{phase: Phase, attempt: number, retryAt: number, reason: string}} State  retryAt: clock's milliseconds
 */

/**
 * What a connection needs of the world; tests bring their own.
 *
 * @typedef {object} World
 * @property {() => Socket} open
 * @property {() => number} now  milliseconds
 * @property {(run: () => void, milliseconds: number) => any} after
 * @property {(timer: any) => void} cancel
 * @property {() => number} random
 */

const HOLDS_MS = 5_000; // a connection that lived this long was no failed attempt
const SILENCE_MS = 10_000; // $stats come four times a second, so this long without a message is suspicious
const CHECK_MS = 2_500;
const OPEN = 1;

/** @type {Omit<World, "open">} */
const BROWSER = {
  now: () => performance.now(),
  after: (run, milliseconds) => setTimeout(run, milliseconds),
  cancel: (timer) => clearTimeout(timer),
  random: Math.random,
};

/**
 * Return the address of the watch socket of the server that the page came from.
 *
 * @param {string} base  the page's address
 * @returns {URL}
 */
export function watchUrl(base) {
  const url = new URL("/v1/watch", base);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url;
}

/** A watch socket that comes back by itself and then asks for all that is subscribed. */
export class Connection {
  /** @param {Pick<World, "open"> & Partial<World>} world */
  constructor(world) {
    /** @type {World} */
    this.world = { ...BROWSER, ...world };
    /** @type {State} */
    this.state = { phase: "waiting", attempt: 0, retryAt: 0, reason: "" };
    /** @type {Map<string, {wish: Wish, holders: number}>} */
    this.wishes = new Map();
    /** @type {Set<(message: Message) => void>} */
    this.readers = new Set();
    /** @type {Set<(state: State) => void>} */
    this.watchers = new Set();
    /** @type {Socket | null} */
    this.socket = null;
    this.session = ""; // what the server calls the socket
    this.isHidden = false;
    this.isAway = false;
    this.liveSince = NaN; // when the server said welcome
    this.heardAt = 0;
    this.hasAsked = false;
    this.notBefore = 0;
    /** @type {any} */
    this.retry = null;
    /** @type {any} */
    this.check = null;
  }

  /**
   * Have every message read, lists taken apart.
   *
   * @param {(message: Message) => void} reader
   * @returns {() => void} which ends that
   */
  onMessage(reader) {
    this.readers.add(reader);
    return () => this.readers.delete(reader);
  }

  /**
   * Be told of the state, now and whenever it changes.
   *
   * @param {(state: State) => void} watcher
   * @returns {() => void} which ends that
   */
  onState(watcher) {
    this.watchers.add(watcher);
    watcher(this.state);
    return () => this.watchers.delete(watcher);
  }

  /**
   * Subscribe to a pattern for as long as the page lives and the returned function was not called; what several ask
   * for is subscribed once, as the last of them wished.
   *
   * @param {string} pattern
   * @param {Wish} [wish]
   * @returns {() => void}
   */
  subscribe(pattern, wish = {}) {
    const holders = (this.wishes.get(pattern)?.holders ?? 0) + 1;
    this.wishes.set(pattern, { wish, holders });
    this.#send({ op: "subscribe", topics: [pattern], ...wish });
    let isHeld = true;
    return () => {
      const entry = this.wishes.get(pattern);
      if (!isHeld || !entry) return;
      isHeld = false;
      if (--entry.holders > 0) return;
      this.wishes.delete(pattern);
      this.#send({ op: "unsubscribe", topics: [pattern] });
    };
  }

  /** Connect now, whatever is waited for. */
  connect() {
    if (this.socket || this.isHidden || this.isAway) return;
    this.world.cancel(this.retry);
    const socket = this.world.open();
    this.socket = socket;
    this.#tell({ phase: "connecting" });
    socket.onmessage = (event) => this.#read(event.data);
    socket.onclose = (event) => this.#lost(socket, event.reason);
  }

  /** Close the socket, and open none until the page may `enter` again. */
  leave() {
    const { socket } = this;
    this.world.cancel(this.retry);
    this.world.cancel(this.check);
    this.isAway = true;
    this.socket = null;
    this.liveSince = NaN;
    this.notBefore = 0;
    socket?.close();
    this.#tell({ phase: "away", attempt: 0, reason: "" });
  }

  /** Connect, and stay connected. */
  enter() {
    this.isAway = false;
    if (this.isHidden) this.#tell({ phase: "asleep" });
    else this.connect();
  }

  /**
   * Follow the page's visibility: a hidden page keeps its socket, and subscribes to nothing.
   *
   * @param {boolean} isHidden
   */
  hide(isHidden) {
    if (isHidden === this.isHidden) return;
    this.isHidden = isHidden;
    if (this.isAway) return;
    const patterns = [...this.wishes.keys()];
    if (isHidden) {
      this.world.cancel(this.retry);
      this.world.cancel(this.check);
      if (patterns.length && this.state.phase === "live") this.#say({ op: "unsubscribe", topics: patterns });
      this.#tell({ phase: "asleep" });
    } else if (this.socket?.readyState === OPEN && !Number.isNaN(this.liveSince)) {
      this.#tell({ phase: "live" });
      this.#subscribeAll();
      this.#listen();
    } else if (this.socket) {
      this.#tell({ phase: "connecting" });
    } else {
      this.connect();
    }
  }

  /** @param {string} data */
  #read(data) {
    this.heardAt = this.world.now();
    this.hasAsked = false;
    const frame = JSON.parse(data);
    for (const message of Array.isArray(frame) ? frame : [frame]) {
      if (message.op === "welcome") this.#welcome(message.session);
      else if (message.op === "goaway") this.notBefore = this.world.now() + message.reconnect_in_ms;
      for (const reader of this.readers) reader(message);
    }
  }

  /** @param {string} session */
  #welcome(session) {
    this.session = session;
    this.liveSince = this.world.now();
    if (this.isHidden) return;
    this.#tell({ phase: "live", reason: "" });
    this.#subscribeAll();
    this.#listen();
  }

  #subscribeAll() {
    const messages = [...this.wishes].map(([pattern, { wish }]) => ({ op: "subscribe", topics: [pattern], ...wish }));
    if (messages.length) this.#say(messages);
  }

  /** Find out when the server has gone without a word, which a browser does not tell for minutes. */
  #listen() {
    this.heardAt = this.world.now();
    this.hasAsked = false;
    const look = () => {
      const silence = this.world.now() - this.heardAt;
      if (this.hasAsked && silence > SILENCE_MS + CHECK_MS) {
        const socket = /** @type {Socket} */ (this.socket);
        socket.close();
        this.#lost(socket, "the server went silent");
        return;
      }
      if (!this.hasAsked && silence > SILENCE_MS) {
        this.hasAsked = true;
        this.#say({ op: "ping" });
      }
      this.check = this.world.after(look, CHECK_MS);
    };
    this.world.cancel(this.check);
    this.check = this.world.after(look, CHECK_MS);
  }

  /**
   * @param {Socket} socket
   * @param {string} reason
   */
  #lost(socket, reason) {
    if (socket !== this.socket) return;
    const { now, after, cancel, random } = this.world;
    cancel(this.check);
    const held = now() - this.liveSince >= HOLDS_MS;
    const attempt = held ? 0 : this.state.attempt;
    this.socket = null;
    this.liveSince = NaN;
    if (this.isHidden) {
      this.#tell({ attempt, reason });
      return;
    }
    const delay = Math.max(0, this.notBefore - now()) + backoff(attempt, random);
    this.notBefore = 0;
    this.#tell({ phase: "waiting", attempt: attempt + 1, retryAt: now() + delay, reason });
    this.retry = after(() => this.connect(), delay);
  }

  /** @param {Message} message */
  #send(message) {
    if (this.state.phase === "live") this.#say(message);
  }

  /** @param {Message | Message[]} frame */
  #say(frame) {
    if (this.socket?.readyState === OPEN) this.socket.send(JSON.stringify(frame));
  }

  /** @param {Partial<State>} change */
  #tell(change) {
    this.state = { ...this.state, ...change };
    for (const watcher of this.watchers) watcher(this.state);
  }
}
