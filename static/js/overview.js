import { buildAlerts } from "./alerts.js";
import { bars, onScheme, palette, sparkline } from "./draw.js";
import { el, empty, perFrame, put } from "./dom.js";
import { count, duration, memory, milliseconds, number } from "./format.js";

/**
 * @typedef {import("./types.js").App} App
 * @typedef {import("./types.js").ModelInfo} ModelInfo
 * @typedef {import("./types.js").ModelStats} ModelStats
 * @typedef {import("./store.js").Store} Store
 * @typedef {import("./values.js").Summary} Summary
 */

const REFRESH_MS = 15_000; // of the list of models, in which broken ones show that have no statistics

/** @type {{name: keyof Summary, title: string, fromZero?: boolean, text: (value: number) => [string, string], caption: (store: Store) => string}[]} */
const TILES = [
  {
    name: "predictions",
    title: "Predictions/s",
    fromZero: true,
    text: (value) => [count(value), ""],
    caption: ({ stats }) => `${count(stats?.events_per_second)} events/s`,
  },
  {
    name: "p50",
    title: "Latency p50",
    fromZero: true,
    text: milliseconds,
    caption: ({ summary }) => (summary?.slowest ? `slowest: ${summary.slowest}` : "arrival to answer"),
  },
  {
    name: "p99",
    title: "Latency p99",
    fromZero: true,
    text: milliseconds,
    caption: ({ summary }) => (summary?.slowest ? `slowest: ${summary.slowest}` : "arrival to answer"),
  },
  {
    name: "sockets",
    title: "Sockets",
    text: (value) => [count(value), ""],
    caption: ({ stats }) => `${count(stats?.keys)} keys · ${count(stats?.watchers)} watching`,
  },
  {
    name: "queue",
    title: "Queue",
    fromZero: true,
    text: (value) => [count(value), "rows"],
    caption: () => "waiting for a run",
  },
  {
    name: "batch",
    title: "Mean batch",
    fromZero: true,
    text: (value) => [number(value), "rows"],
    caption: () => "over 5 s",
  },
  {
    name: "memory",
    title: "Memory",
    text: memory,
    caption: ({ stats }) => `CPU ${stats?.cpu?.toFixed(2) ?? "–"} cores`,
  },
  {
    name: "lag",
    title: "Loop lag",
    fromZero: true,
    text: milliseconds,
    caption: () => "of the event loop",
  },
];

/** @type {import("./types.js").Mount} */
export function mount(root, app) {
  const { account, store } = app;
  const [mayCount, mayAlert] = ["$stats", "$alerts"].map((topic) => account.scopes.mayWatch(topic));
  const tiles = mayCount ? TILES.map(makeTile) : [];
  const models = makeModels();
  const alerts = buildAlerts(store);
  const errors = el("div", { class: "errors" });
  const side = el(
    "div",
    { class: "side" },
    section("alerts", "Alerts", mayAlert ? alerts.element : withheld("$alerts")),
    section("errors", "Errors since the start", mayCount ? errors : withheld("$stats")),
  );
  root.append(
    el("h1", { class: "visually-hidden" }, "Overview"),
    mayCount ? el("div", { class: "tiles live" }, ...tiles.map((tile) => tile.element)) : withheld("$stats"),
    el("div", { class: "columns" }, models.element, side),
  );

  const frame = perFrame(() => {
    for (const tile of tiles) tile.show(store);
    models.show(store);
    showErrors(errors, store.stats?.errors ?? {});
  });
  let served = ""; // which versions were in which state when the list was last fetched
  const unlisten = store.listen((news) => {
    if (news === "alert") alerts.show();
    if (news === "stats") {
      const now = (store.stats?.models ?? []).map(({ name, version, state }) => `${name} ${version} ${state}`).join();
      if (now !== served) refresh();
      served = now;
    }
    if (news === "stats" || news === "models") frame.ask();
  });
  const refresh = () => {
    app.models(true).catch(() => {}); // the status bar tells that the server is gone
  };
  const recall = async () => {
    const whose = account.me;
    const reply = await account.fetch("/v1/alerts").catch(() => null);
    const found = reply?.ok ? await reply.json() : { alerts: [] };
    if (account.me === whose) store.takeAlerts(found.alerts);
  };
  let wasLive = false;
  const unwatch = app.connection.onState(({ phase }) => {
    if (mayAlert && phase === "live" && !wasLive) recall(); // what was missed meanwhile
    wasLive = phase === "live";
  });
  const timer = setInterval(() => {
    if (!document.hidden && app.connection.state.phase === "live") refresh();
  }, REFRESH_MS);
  const resize = new ResizeObserver(() => {
    for (const tile of tiles) tile.measure();
    frame.ask();
  });
  resize.observe(root);
  const unscheme = onScheme(frame.ask);
  alerts.show();
  frame.ask();
  return () => {
    frame.stop();
    unlisten();
    unwatch();
    unscheme();
    resize.disconnect();
    clearInterval(timer);
  };
}

/**
 * @param {string} id
 * @param {string} title
 * @param {HTMLElement} content
 */
function section(id, title, content) {
  return el("section", { class: "card", "aria-labelledby": id }, el("h2", { id }, title), content);
}

/**
 * @param {string} topic
 * @returns {HTMLElement} what stands where something is not for everybody
 */
function withheld(topic) {
  return el("p", { class: "notice" }, "Your API key or token does not allow this. It needs the scope ", el("code", {}, `watch:${topic}`), ".");
}

/** @param {(typeof TILES)[number]} tile */
function makeTile({ name, title, fromZero, text, caption }) {
  const figure = el("span", {}, "–");
  const unit = el("span", { class: "unit" });
  const note = el("div", { class: "caption" });
  const canvas = el("canvas", { role: "img", "aria-label": `${title}, the last minute` });
  const element = el(
    "section",
    { class: "card tile", "data-tile": name },
    el("h3", {}, title),
    el("div", { class: "value" }, figure, unit),
    note,
    canvas,
  );
  let width = 0;
  return {
    element,
    measure() {
      width = canvas.clientWidth;
    },
    /** @param {Store} store */
    show(store) {
      const [digits, measure] = text(store.summary ? store.summary[name] : NaN);
      put(figure, digits);
      put(unit, measure);
      put(note, caption(store));
      const color = palette().accent;
      if (width) sparkline(canvas, store.history[name], { width, height: 28, color, fill: true, fromZero });
    },
  };
}

function makeModels() {
  const body = el("tbody");
  const headings = ["Model", "Version", "State", "Predictions/s", "p50", "p99", "Queue", "Batch sizes"];
  const table = el(
    "table",
    {},
    el("thead", {}, el("tr", {}, ...headings.map((text, at) => el("th", { scope: "col", class: at >= 3 && at < 7 ? "number" : "" }, text)))),
    body,
  );
  const none = empty(
    "No models are served",
    "Put a folder <name>/1/model.onnx into the models folder and restart, or start the server on a file: ",
    el("code", {}, "python server.py my.onnx"),
  );
  const waiting = el("p", { class: "muted" }, "Waiting for the server …");
  const scroll = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-labelledby": "models" }, table);
  const element = el("section", { class: "card models" }, el("h2", { id: "models" }, "Models"), waiting, scroll, none);
  none.hidden = scroll.hidden = true;
  /** @type {Map<string, ReturnType<typeof makeRow>>} */
  const rows = new Map();
  let order = "";
  return {
    element,
    /** @param {Store} store */
    show(store) {
      const stats = new Map((store.stats?.models ?? []).map((model) => [`${model.name} ${model.version}`, model]));
      const listed = versions([...store.models.values()], [...stats.values()]);
      waiting.hidden = listed.length > 0 || store.isListed;
      none.hidden = listed.length > 0 || !store.isListed;
      scroll.hidden = !listed.length;
      const names = listed.map(({ id }) => id).join("\n");
      if (names !== order) {
        order = names;
        const wanted = new Set(listed.map(({ id }) => id));
        for (const id of rows.keys()) if (!wanted.has(id)) rows.delete(id);
        for (const { id } of listed) if (!rows.has(id)) rows.set(id, makeRow());
        body.replaceChildren(...listed.map(({ id }) => /** @type {ReturnType<typeof makeRow>} */ (rows.get(id)).element));
      }
      for (const line of listed) rows.get(line.id)?.show(line, stats.get(line.id));
    },
  };
}

/**
 * @typedef {{id: string, name: string, version: string, state: string, tags: string, reason: string}} Line
 *
 * One line per version of a model; statistics know versions that are on their way out, the list those that are broken.
 *
 * @param {ModelInfo[]} models
 * @param {ModelStats[]} stats
 * @returns {Line[]}
 */
function versions(models, stats) {
  /** @type {Map<string, Line>} */
  const lines = new Map();
  for (const model of models) {
    for (const { version, state, labels, reason } of model.versions ?? [model]) {
      const tags = Array.isArray(labels) ? labels.join(", ") : model.steps ? "ensemble" : "";
      const id = `${model.name} ${version}`;
      lines.set(id, { id, name: model.name, version, state, tags, reason: reason ?? "" });
    }
  }
  for (const { name, version, state } of stats) {
    const id = `${name} ${version}`;
    if (!lines.has(id)) lines.set(id, { id, name, version, state, tags: "", reason: "" });
  }
  return [...lines.values()].sort((a, b) => a.name.localeCompare(b.name) || Number(a.version) - Number(b.version));
}

function makeRow() {
  const title = el("span");
  const reason = el("span", { class: "reason" });
  const version = el("span");
  const tags = el("span", { class: "pill" });
  const state = el("span", { class: "pill" });
  const figures = Array.from({ length: 4 }, () => el("td", { class: "number" }));
  const canvas = el("canvas", { role: "img" });
  const element = el(
    "tr",
    {},
    el("td", {}, title, reason),
    el("td", {}, version, " ", tags),
    el("td", {}, state),
    ...figures,
    el("td", {}, canvas),
  );
  return {
    element,
    /**
     * @param {Line} line
     * @param {ModelStats} [stats]
     */
    show(line, stats) {
      put(title, line.name);
      put(reason, line.reason);
      put(version, line.version);
      put(tags, line.tags);
      tags.hidden = !line.tags;
      const is = stats?.state ?? line.state;
      put(state, is);
      state.className = `pill ${is}`;
      put(figures[0], count(stats?.predictions_per_second));
      put(figures[1], duration(stats?.total_ms?.p50));
      put(figures[2], duration(stats?.total_ms?.p99));
      put(figures[3], count(stats?.queue_depth));
      const { accent, line: ground } = palette();
      const found = Object.entries(stats?.batch_rows ?? {});
      bars(canvas, found.map(([, batches]) => batches), { width: 96, height: 24, color: accent, ground });
      const spoken = found.filter(([, batches]) => batches).map(([bound, batches]) => `up to ${bound} rows: ${batches}`);
      const text = spoken.join(", ") || "no batches";
      if (canvas.title !== text) {
        canvas.title = text;
        canvas.setAttribute("aria-label", text);
      }
    },
  };
}

/**
 * @param {HTMLElement} element
 * @param {Record<string, number>} errors
 */
function showErrors(element, errors) {
  const texts = Object.entries(errors).filter(([, found]) => found).map(([code, found]) => `${code} ${count(found)}`);
  if (!texts.length) texts.push("none");
  texts.forEach((text, index) => {
    const pill = /** @type {HTMLElement} */ (element.children[index] ?? element.appendChild(el("span", { class: "pill" })));
    put(pill, text);
  });
  while (element.children.length > texts.length) element.lastElementChild?.remove();
}
