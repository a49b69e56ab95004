/** Who uses the page. Servers that need no credentials answer for anybody, and nobody is asked for one. */

import { Scopes } from "./scopes.js";

/**
 * @typedef {{name: string, kind: "key" | "token" | "ticket" | "open", scopes: string[], expires_at: number | null}} Me
 *
 * @typedef {object} World  what it needs of the world; tests bring their own
 * @property {(path: string, options: RequestInit) => Promise<Response>} fetch
 * @property {Pick<Storage, "getItem" | "setItem" | "removeItem">} storage
 */

const SLOT = "waterspout.credential";
const CREDENTIAL = /^[\x21-\x7e]{1,8192}$/;
const NOBODY = new Scopes([]);

/** Keeps the credential for as long as the tab lives, and shows it with every request. */
export class Account {
  #credential;
  /** @type {Promise<void> | null} */
  #asking = null;

  /** @param {World} world */
  constructor(world) {
    this.world = world;
    /** @type {Me | null} nobody, or not known yet */
    this.me = null;
    this.scopes = NOBODY;
    this.reason = ""; // why a credential is needed once more
    /** @type {Set<() => void>} */
    this.watchers = new Set();
    this.#credential = world.storage.getItem(SLOT) ?? "";
  }

  /**
   * Be told when it is known who this is, or that it is nobody any more.
   *
   * @param {() => void} watcher
   * @returns {() => void} which ends that
   */
  onChange(watcher) {
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  }

  /**
   * Ask the server for something; a credential that it takes no longer is forgotten.
   *
   * @param {string} path
   * @param {RequestInit} [options]
   * @returns {Promise<Response>}
   */
  async fetch(path, options = {}) {
    const credential = this.#credential;
    const reply = await this.world.fetch(path, withCredential(credential, options));
    if (reply.status === 401 && credential === this.#credential) {
      const why = await whyOf(reply.clone());
      if (credential === this.#credential) this.#forget(credential && why);
    }
    return reply;
  }

  /**
   * Ask the server who this is. Rejects where it does not say.
   *
   * @returns {Promise<void>}
   */
  check() {
    this.#asking ??= this.#check().finally(() => (this.#asking = null));
    return this.#asking;
  }

  async #check() {
    const credential = this.#credential;
    const reply = await this.fetch("/v1/me");
    if (reply.status === 401) return;
    if (!reply.ok) throw new Error(await whyOf(reply));
    const me = await reply.json();
    if (credential === this.#credential) this.#take(me);
  }

  /**
   * Show another credential from now on. Rejects with the reason where the server does not take it.
   *
   * @param {string} text
   * @returns {Promise<void>}
   */
  async signIn(text) {
    const credential = text.trim();
    if (!credential) throw new Error("Enter an API key or a token.");
    if (!CREDENTIAL.test(credential)) throw new Error("This is no API key or token: it has spaces or other characters that none has.");
    const reply = await this.world.fetch("/v1/me", withCredential(credential)).catch(() => null);
    if (!reply) throw new Error("The server cannot be reached.");
    if (!reply.ok) throw new Error(await whyOf(reply));
    const me = await reply.json();
    this.#credential = me.kind === "open" ? "" : credential;
    if (this.#credential) this.world.storage.setItem(SLOT, credential);
    this.#take(me);
  }

  /** Forget the credential. */
  signOut() {
    this.#forget("");
  }

  /**
   * Return what opens one socket. Rejects where the server gives none.
   *
   * @returns {Promise<string | null>} null where none is needed
   */
  async ticket() {
    if (!this.me) await this.check();
    if (!this.me) throw new Error("nobody is signed in");
    if (this.me.kind === "open") return null;
    const reply = await this.fetch("/v1/tickets", { method: "POST" });
    if (!reply.ok) throw new Error(await whyOf(reply));
    const { ticket } = await reply.json();
    if (ticket === null) this.check().catch(() => {}); // credentials are not needed any more
    return ticket;
  }

  /** @param {Me} me */
  #take(me) {
    if (JSON.stringify(me) === JSON.stringify(this.me)) return;
    this.me = me;
    this.scopes = new Scopes(me.scopes);
    this.reason = "";
    for (const watcher of this.watchers) watcher();
  }

  /** @param {string} reason */
  #forget(reason) {
    this.#credential = "";
    this.world.storage.removeItem(SLOT);
    this.me = null;
    this.scopes = NOBODY;
    this.reason = reason;
    for (const watcher of this.watchers) watcher();
  }
}

/** @returns {World} of a page; where it may not store anything, a reload asks for the credential again */
export function browserWorld() {
  /** @type {World["storage"]} */
  let storage;
  try {
    storage = sessionStorage;
  } catch {
    storage = { getItem: () => null, setItem: () => {}, removeItem: () => {} };
  }
  return { fetch: (path, options) => fetch(path, options), storage };
}

/**
 * @param {string} credential
 * @param {RequestInit} [options]
 * @returns {RequestInit}
 */
function withCredential(credential, options = {}) {
  return credential ? { ...options, headers: { ...options.headers, Authorization: `Bearer ${credential}` } } : options;
}

/**
 * @param {Response} reply
 * @returns {Promise<string>} the server's words
 */
async function whyOf(reply) {
  const { error } = await reply.json().catch(() => ({}));
  return error?.message ?? `the server answered ${reply.status}`;
}
