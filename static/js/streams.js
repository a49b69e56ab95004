import { onScheme, palette, sparkline } from "./draw.js";
import { el, empty, perFrame, put } from "./dom.js";
import { age, count, duration, number } from "./format.js";
import { filtered, inView, sorted } from "./table.js";

/**
 * @typedef {import("./store.js").Store} Store
 * @typedef {import("./store.js").Stream} Stream
 * @typedef {import("./table.js").Column} Column
 * @typedef {import("./table.js").Order} Order
 */

const HZ = 5;
const ROW = 36; // pixels, as in app.css
const RESORT_MS = 1_000; // rows that jump more often cannot be read
const SETTLES_MS = 1_500; // a snapshot has come by then, so no streams are no streams

/** @type {{column: Column | "trend", title: string, isNumber?: boolean}[]} */
const COLUMNS = [
  { column: "key", title: "Stream" },
  { column: "model", title: "Model" },
  { column: "label", title: "Label" },
  { column: "score", title: "Score", isNumber: true },
  { column: "trend", title: "Trend" },
  { column: "rate", title: "Rate", isNumber: true },
  { column: "latency", title: "Latency", isNumber: true },
  { column: "age", title: "Age", isNumber: true },
];

/** @type {Order} kept while other views are shown */
let order = { column: "key", descending: false };
let filter = "";

/** @type {import("./types.js").Mount} */
export function mount(root, app) {
  const { store } = app;
  const search = el("input", {
    type: "search",
    "aria-label": "Filter streams",
    placeholder: "Filter by key, model or label",
    value: filter,
    autocomplete: "off",
    spellcheck: "false",
  });
  const found = el("span", { class: "muted", role: "status" });
  const headings = new Map(COLUMNS.map(({ column, title, isNumber }) => [column, heading(column, title, isNumber)]));
  const rows = el("div", { class: "rows", role: "rowgroup" });
  const body = el("div", { class: "body" }, rows);
  const table = el(
    "div",
    { class: "card grid live", role: "table", "aria-label": "Streams", "aria-colcount": COLUMNS.length },
    el("div", { class: "headings", role: "rowgroup" }, el("div", { role: "row", "aria-rowindex": 1 }, ...headings.values())),
    body,
  );
  const none = empty(
    "No streams yet",
    "A stream appears here with its first prediction. ",
    el("code", {}, "make run"),
    " starts one that sends real recordings; ",
    el("a", { href: "#try" }, "Try it"),
    " sends from this page.",
  );
  none.hidden = true;
  root.append(
    el("div", { class: "head" }, el("h1", {}, "Streams"), found, el("div", { class: "end" }, search)),
    table,
    none,
  );

  /** @type {Stream[]} */
  let listed = [];
  /** @type {Row[]} */
  let pool = [];
  let isOld = true; // what is listed does not hold all that fits
  let sortedAt = 0;
  let height = 0;
  let scrolled = 0;
  const mounted = performance.now();

  function list() {
    listed = sorted(filtered(store.streams.values(), filter), order, store.serverTime());
    isOld = false;
    sortedAt = performance.now();
    rows.style.height = `${listed.length * ROW}px`;
    table.setAttribute("aria-rowcount", String(listed.length + 1));
    const all = store.streams.size;
    put(found, listed.length === all ? count(all) : `${count(listed.length)} of ${count(all)}`);
    none.hidden = all > 0 || performance.now() - mounted < SETTLES_MS;
    table.hidden = !none.hidden;
    for (const [column, cell] of headings) {
      if (column === order.column) cell.setAttribute("aria-sort", order.descending ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    }
  }

  const frame = perFrame(() => {
    const focused = pool.find((row) => row.link === document.activeElement)?.stream;
    if (isOld || performance.now() - sortedAt >= RESORT_MS) list();
    const { first, last } = inView(scrolled, height, ROW, listed.length);
    while (pool.length < last - first) {
      const row = new Row();
      pool.push(row);
      rows.append(row.element);
    }
    const now = store.serverTime();
    for (let index = first; index < last; index += 1) pool[index % pool.length].show(listed[index], index, now, store);
    const used = new Set(Array.from({ length: last - first }, (_, at) => (first + at) % pool.length));
    pool.forEach((row, at) => row.element.toggleAttribute("hidden", !used.has(at)));
    if (focused) follow(focused);
  });

  /**
   * Keep the focus on its stream where the rows have moved below it.
   *
   * @param {Stream} stream
   */
  function follow(stream) {
    const row = pool.find((candidate) => candidate.stream === stream && !candidate.element.hidden);
    if (row && row.link !== document.activeElement) row.link.focus({ preventScroll: true });
  }

  /** @param {number} index  of the row that is to be focused */
  function focus(index) {
    const at = Math.min(Math.max(0, index), listed.length - 1);
    if (at < 0) return;
    if (at * ROW < body.scrollTop) body.scrollTop = at * ROW;
    else if ((at + 1) * ROW > body.scrollTop + height) body.scrollTop = (at + 1) * ROW - height;
    scrolled = body.scrollTop;
    const { stream } = { stream: listed[at] };
    frame.ask();
    requestAnimationFrame(() => follow(stream)); // after the frame that was asked for just now
  }

  for (const [column, cell] of headings) {
    if (column === "trend") continue;
    cell.firstElementChild?.addEventListener("click", () => {
      order = { column, descending: order.column === column ? !order.descending : column === "score" || column === "rate" };
      isOld = true;
      frame.ask();
    });
  }
  search.addEventListener("input", () => {
    filter = search.value;
    isOld = true;
    body.scrollTop = scrolled = 0;
    frame.ask();
  });
  body.addEventListener(
    "scroll",
    () => {
      scrolled = body.scrollTop;
      frame.ask();
    },
    { passive: true },
  );
  body.addEventListener("keydown", (event) => {
    const at = pool.find((row) => row.link === document.activeElement)?.index;
    if (at === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    const page = Math.max(1, Math.floor(height / ROW) - 1);
    /** @type {Record<string, number>} */
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -at, End: listed.length };
    if (!(event.key in steps)) return;
    event.preventDefault();
    focus(at + steps[event.key]);
  });

  const unlisten = store.listen((news) => {
    if (news === "streams") isOld = true;
    if (news === "stream" || news === "streams") frame.ask();
  });
  const resize = new ResizeObserver(() => {
    height = body.clientHeight;
    frame.ask();
  });
  resize.observe(body);
  const unscheme = onScheme(() => {
    for (const row of pool) row.revision = -1;
    frame.ask();
  });
  const ticking = setInterval(frame.ask, 1000); // ages grow without news
  const subscribed = app.account.scopes.streams.map((pattern) => app.connection.subscribe(pattern, { hz: HZ }));
  frame.ask();
  return () => {
    frame.stop();
    clearInterval(ticking);
    for (const unsubscribe of subscribed) unsubscribe();
    unlisten();
    unscheme();
    resize.disconnect();
    pool = [];
  };
}

/**
 * @param {Column | "trend"} column
 * @param {string} title
 * @param {boolean} [isNumber]
 */
function heading(column, title, isNumber) {
  const text = column === "trend" ? title : el("button", { type: "button" }, title);
  return el("div", { role: "columnheader", class: `${column}${isNumber ? " number" : ""}` }, text);
}

/** One row of the view, which shows one stream after another. */
class Row {
  constructor() {
    this.link = el("a");
    this.model = el("div", { role: "cell", class: "model muted" });
    this.swatch = el("span", { class: "swatch" });
    this.label = el("span");
    this.score = el("div", { role: "cell", class: "number" });
    this.canvas = el("canvas", { "aria-hidden": "true" });
    this.rate = el("div", { role: "cell", class: "rate number" });
    this.latency = el("div", { role: "cell", class: "latency number muted" });
    this.age = el("div", { role: "cell", class: "age number muted" });
    this.element = el(
      "div",
      { role: "row" },
      el("div", { role: "cell", class: "key" }, this.link),
      this.model,
      el("div", { role: "cell", class: "label" }, this.swatch, this.label),
      this.score,
      el("div", { role: "cell", class: "trend" }, this.canvas),
      this.rate,
      this.latency,
      this.age,
    );
    /** @type {Stream | undefined} */
    this.stream = undefined;
    this.index = -1;
    this.revision = -1;
  }

  /**
   * @param {Stream} stream
   * @param {number} index
   * @param {number} now  unix seconds of the server
   * @param {Store} store
   */
  show(stream, index, now, store) {
    if (index !== this.index) {
      this.index = index;
      this.element.style.transform = `translateY(${index * ROW}px)`;
      this.element.setAttribute("aria-rowindex", String(index + 2));
    }
    put(this.rate, `${count(stream.rate(now))}/s`);
    put(this.age, stream.isEnded ? "ended" : age(now - stream.ts));
    if (stream === this.stream && stream.revision === this.revision) return;
    if (stream !== this.stream) {
      this.link.href = `#stream/${encodeURIComponent(stream.topic)}`;
      put(this.link, stream.key);
      this.link.title = stream.topic;
      put(this.model, stream.model);
    }
    this.stream = stream;
    this.revision = stream.revision;
    this.element.classList.toggle("ended", stream.isEnded);
    const series = seriesOf(stream, store);
    put(this.label, stream.label || "–");
    this.swatch.hidden = series < 0;
    if (this.swatch.dataset.series !== String(series)) this.swatch.dataset.series = String(series);
    put(this.score, number(stream.score));
    put(this.latency, duration(stream.milliseconds));
    const { series: colors, muted } = palette();
    sparkline(this.canvas, stream.trend, { width: 116, height: 24, color: colors[series] ?? muted });
  }
}

/**
 * @param {Stream} stream
 * @param {Store} store
 * @returns {number} the colour of the stream's label, -1 where it has none
 */
function seriesOf(stream, store) {
  const labels = Object.values(store.models.get(stream.model)?.labels ?? {})[0];
  const at = labels ? labels.indexOf(stream.label) : -1;
  return at < 0 ? -1 : at % 8;
}
