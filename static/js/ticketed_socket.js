/** WebSockets of a browser, which cannot send a header: each is opened with a ticket of its own. */

const SUBPROTOCOL = "waterspout.v1.json";
const CUT = 1006;
const OF_CREDENTIALS = new Set([4500, 4503]); // close codes: not taken any more, does not allow it any more

/**
 * What the page uses of a WebSocket.
 *
 * @typedef {Pick<WebSocket, "readyState" | "bufferedAmount" | "send"> & {
 *   close: (code?: number) => void,
 *   onmessage: ((event: {data: string}) => void) | null,
 *   onclose: ((event: {code: number, reason: string}) => void) | null,
 * }} Socket
 *
 * @typedef {Pick<import("./account.js").Account, "ticket" | "check">} Tickets
 */

/** @implements {Socket} */
export class TicketedSocket {
  /**
   * @param {Tickets} account
   * @param {URL} url
   * @param {(url: URL) => any} [open]  returns a `Socket`
   */
  constructor(account, url, open = (url) => new WebSocket(url, SUBPROTOCOL)) {
    this.account = account;
    /** @type {Socket | null} */
    this.socket = null;
    /** @type {Socket["onmessage"]} */
    this.onmessage = null;
    /** @type {Socket["onclose"]} */
    this.onclose = null;
    this.isClosed = false;
    this.#open(url, open);
  }

  get readyState() {
    return this.isClosed ? 3 : (this.socket?.readyState ?? 0);
  }

  get bufferedAmount() {
    return this.socket?.bufferedAmount ?? 0;
  }

  /** @param {string} text */
  send(text) {
    this.socket?.send(text);
  }

  /** @param {number} [code] */
  close(code) {
    this.isClosed = true;
    this.socket?.close(code);
  }

  /**
   * @param {URL} url
   * @param {(url: URL) => any} open
   */
  async #open(url, open) {
    let ticket;
    try {
      ticket = await this.account.ticket();
    } catch (error) {
      this.#lost(CUT, error instanceof Error ? error.message : String(error));
      return;
    }
    if (this.isClosed) return;
    if (ticket !== null) url.searchParams.set("ticket", ticket);
    /** @type {Socket} */
    const opened = open(url);
    this.socket = opened;
    opened.onmessage = (event) => this.onmessage?.(event);
    opened.onclose = ({ code, reason }) => this.#lost(code, reason);
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  #lost(code, reason) {
    this.isClosed = true;
    if (OF_CREDENTIALS.has(code)) this.account.check().catch(() => {}); // else the next attempt finds out
    this.onclose?.({ code, reason });
  }
}
