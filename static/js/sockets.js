/** The sockets of a server as a table. */

import { el, put } from "./dom.js";
import { count, uptime } from "./format.js";
import { finder, sortedBy } from "./table.js";

/**
 * @typedef {object} SessionInfo  what is 0 or empty is left out
 * @property {string} session
 * @property {string} kind
 * @property {string | null} identity  null: has yet to say who it is
 * @property {string} address
 * @property {number} seconds  since it was opened
 * @property {number} [events]
 * @property {number} [in_flight]
 * @property {number} [keys]
 * @property {string[]} [topics]
 * @property {string} [process]  which of several has it
 *
 * @typedef {{column: Column, descending: boolean}} Order
 * @typedef {"session" | "kind" | "identity" | "address" | "seconds" | "events" | "in_flight" | "keys" | "topics" | "process"} Column
 */

const NOT_TOLD = "not told yet";

/** @type {{column: Column, title: string, isNumber?: boolean, text: (info: SessionInfo) => string}[]} */
const COLUMNS = [
  { column: "session", title: "Session", text: (info) => info.session },
  { column: "kind", title: "Kind", text: (info) => info.kind },
  { column: "identity", title: "Identity", text: (info) => info.identity ?? NOT_TOLD },
  { column: "address", title: "Address", text: (info) => info.address },
  { column: "seconds", title: "Age", isNumber: true, text: (info) => uptime(info.seconds) },
  { column: "events", title: "Events", isNumber: true, text: (info) => count(info.events ?? 0) },
  { column: "in_flight", title: "In flight", isNumber: true, text: (info) => count(info.in_flight ?? 0) },
  { column: "keys", title: "Keys", isNumber: true, text: (info) => count(info.keys ?? 0) },
  { column: "topics", title: "Topics", text: (info) => (info.topics ?? []).join(", ") },
  { column: "process", title: "Process", text: (info) => info.process ?? "" },
];

/**
 * @param {SessionInfo[]} sessions
 * @param {string} filter  words, each of which some of the texts must hold
 * @param {Order} order
 * @returns {SessionInfo[]}
 */
export function arranged(sessions, filter, { column, descending }) {
  const isFound = finder(filter);
  const found = sessions.filter((info) => {
    const { session, kind, identity, address, topics, process } = info;
    return isFound([session, kind, identity ?? NOT_TOLD, address, ...(topics ?? []), process ?? ""]);
  });
  const valueOf = (/** @type {SessionInfo} */ info) => {
    const value = info[column];
    if (column === "topics") return info.topics?.join(", ") ?? "";
    if (typeof value === "string" || typeof value === "number") return value;
    return column === "identity" || column === "process" ? "" : 0;
  };
  return sortedBy(found, valueOf, descending, (info) => info.session);
}

/** @type {Order} kept while other views are shown */
let order = { column: "seconds", descending: true };
let filter = "";

/**
 * @param {(session: string) => boolean} isMine  whether it is this page's
 * @param {(info: SessionInfo) => void} close
 * @returns {{element: HTMLElement, show: (sessions: SessionInfo[], total: number) => void, focus: () => void}}
 */
export function buildSockets(isMine, close) {
  const search = el("input", {
    type: "search",
    "aria-label": "Filter sockets",
    placeholder: "Filter by identity, address or topic",
    value: filter,
    autocomplete: "off",
    spellcheck: "false",
  });
  const found = el("span", { class: "muted", role: "status" });
  const body = el("tbody");
  const headings = new Map(COLUMNS.map(({ column, title, isNumber }) => [column, heading(title, isNumber)]));
  const last = el("th", { scope: "col" }, el("span", { class: "visually-hidden" }, "Orders"));
  const table = el("table", {}, el("thead", {}, el("tr", {}, ...headings.values(), last)), body);
  const scroll = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-labelledby": "sockets" }, table);
  const element = el(
    "section",
    { class: "card sockets" },
    el("div", { class: "head" }, el("h2", { id: "sockets" }, "Sockets"), found, el("div", { class: "end" }, search)),
    scroll,
  );
  /** @type {SessionInfo[]} */
  let all = [];
  let open = 0;
  /** @type {Map<string, Row>} */
  let rows = new Map();

  function draw() {
    const focused = document.activeElement;
    const listed = arranged(all, filter, order);
    element.classList.toggle("alone", !all.some(({ process }) => process));
    rows = new Map(listed.map((info) => [info.session, rows.get(info.session) ?? new Row(close)]));
    let at = 0;
    for (const info of listed) {
      const row = /** @type {Row} */ (rows.get(info.session));
      row.show(info, isMine(info.session));
      if (body.children[at] !== row.element) body.insertBefore(row.element, body.children[at] ?? null);
      at += 1;
    }
    while (body.children.length > at) body.lastElementChild?.remove();
    if (focused instanceof HTMLElement && focused !== document.activeElement && body.contains(focused)) {
      focused.focus({ preventScroll: true }); // a row that was moved has lost it
    }
    const shown = listed.length === all.length ? count(all.length) : `${count(listed.length)} of ${count(all.length)}`;
    put(found, open > all.length ? `${shown}, the oldest of ${count(open)}` : shown);
    for (const [column, cell] of headings) {
      if (column === order.column) cell.setAttribute("aria-sort", order.descending ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    }
  }

  for (const { column, isNumber } of COLUMNS) {
    headings.get(column)?.firstElementChild?.addEventListener("click", () => {
      order = { column, descending: order.column === column ? !order.descending : isNumber === true };
      draw();
    });
  }
  search.addEventListener("input", () => {
    filter = search.value;
    draw();
  });
  return {
    element,
    show(sessions, total) {
      all = sessions;
      open = total;
      draw();
    },
    focus: () => scroll.focus(),
  };
}

/**
 * @param {string} title
 * @param {boolean} [isNumber]
 */
function heading(title, isNumber) {
  return el("th", { scope: "col", class: isNumber ? "number" : undefined }, el("button", { type: "button" }, title));
}

/** One socket. */
class Row {
  /** @param {(info: SessionInfo) => void} close */
  constructor(close) {
    this.cells = COLUMNS.map(({ isNumber }) => el("td", { class: isNumber ? "number" : undefined }));
    this.button = el("button", { type: "button" }, "Close");
    this.element = el("tr", {}, ...this.cells, el("td", { class: "number" }, this.button));
    /** @type {SessionInfo | undefined} */
    this.info = undefined;
    this.button.addEventListener("click", () => this.info && close(this.info));
  }

  /**
   * @param {SessionInfo} info
   * @param {boolean} isMine
   */
  show(info, isMine) {
    if (!this.info) this.button.setAttribute("aria-label", `Close ${info.session}`);
    this.info = info;
    COLUMNS.forEach(({ column, text }, at) => {
      const words = text(info);
      put(this.cells[at], column === "kind" && isMine ? `${words} (this page)` : words);
    });
  }
}
