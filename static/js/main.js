import { Connection, openWatch } from "./connection.js";
import { el, empty, put } from "./dom.js";
import { uptime } from "./format.js";
import { Store } from "./store.js";

/**
 * @typedef {import("./types.js").App} App
 * @typedef {import("./types.js").Mount} Mount
 * @typedef {import("./types.js").ModelInfo} ModelInfo
 * @typedef {import("./types.js").Stop} Stop
 */

const SWEEP_MS = 2_000; // the snapshot has come by then
const NOTE_MS = 10_000;

/** @type {Record<string, {title: string, load: () => Promise<{mount: Mount}>}>} */
const VIEWS = {
  overview: { title: "Overview", load: () => import("./overview.js") },
  streams: { title: "Streams", load: () => import("./streams.js") },
  stream: { title: "Stream", load: () => import("./stream.js") },
  try: { title: "Try it", load: () => import("./try.js") },
};

const root = find("view");
const connection = new Connection({ open: openWatch });
const store = new Store();

/** @type {Promise<ModelInfo[]> | null} */
let asked = null;

/** @type {App} */
const app = {
  connection,
  store,
  models(fresh = false) {
    if (fresh || !asked) {
      asked = fetchModels();
      asked.catch(() => (asked = null));
    }
    return asked;
  },
  go: (hash) => {
    location.hash = hash;
  },
};

/** @returns {Promise<ModelInfo[]>} */
async function fetchModels() {
  const reply = await fetch("/v1/models");
  if (!reply.ok) throw new Error(`GET /v1/models: ${reply.status}`);
  const { models } = await reply.json();
  store.takeModels(models);
  return models;
}

/**
 * @param {string} id
 * @returns {HTMLElement}
 */
function find(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

/** @type {Stop} */
let stop = () => {};
let turn = 0;

/** Show the view that the address names. */
async function show() {
  const [name, ...rest] = location.hash.slice(1).split("/");
  const known = Object.hasOwn(VIEWS, name) ? name : "overview";
  const view = VIEWS[known];
  const mine = ++turn;
  stop();
  stop = () => {};
  const isFirst = mine === 1;
  document.title = `${view.title} · Waterspout`;
  for (const link of document.querySelectorAll("nav a")) {
    const target = /** @type {HTMLAnchorElement} */ (link).hash.slice(1);
    if (VIEWS[target] === view || (target === "streams" && name === "stream")) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  /** @type {HTMLElement} */
  const page = el("div", { class: `view ${known}` });
  try {
    const { mount } = await view.load();
    if (mine !== turn) return;
    root.replaceChildren(page);
    stop = mount(page, app, decode(rest.join("/")));
  } catch (error) {
    if (mine !== turn) return;
    console.error(error);
    root.replaceChildren(empty("This view could not be loaded", "Reload the page once the server can be reached."));
  }
  window.scrollTo(0, 0);
  if (!isFirst) root.focus({ preventScroll: true });
}

/**
 * @param {string} text
 * @returns {string} as it is where it was not encoded well
 */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

const stateLine = find("state");
const wait = find("wait");
const retry = find("retry");
const facts = find("facts");
let note = ""; // what the server had to say last
/** @type {any} */
let noted = null;
/** @type {any} */
let countdown = null;

function showState() {
  const { phase, retryAt, attempt } = connection.state;
  const texts = {
    live: note || "Live",
    connecting: attempt ? "Reconnecting …" : "Connecting …",
    waiting: "Connection lost",
    asleep: "Paused while hidden",
  };
  stateLine.dataset.phase = note && phase === "live" ? "refused" : phase;
  put(stateLine, texts[phase]);
  retry.hidden = wait.hidden = phase !== "waiting";
  clearTimeout(countdown);
  if (phase !== "waiting") return;
  const seconds = Math.max(0, Math.ceil((retryAt - performance.now()) / 1000));
  put(wait, `attempt ${attempt + 1} in ${seconds} s`); // beside the status, which is read aloud
  countdown = setTimeout(showState, 500);
}

/**
 * Say something in place of "Live", for a while.
 *
 * @param {string} text
 */
function tell(text) {
  note = text;
  clearTimeout(noted);
  noted = setTimeout(() => {
    note = "";
    showState();
  }, NOTE_MS);
  showState();
}

connection.onMessage((message) => {
  for (const pattern of message.op === "subscribed" ? message.topics : []) {
    const doubt = store.doubt(pattern);
    setTimeout(() => store.sweep(doubt), SWEEP_MS);
  }
  if (message.error) tell(`The server refused: ${message.error.message}`);
  else if (message.op === "gap") tell(`This page was too slow for ${message.count} updates`);
  else if (message.op) showState();
  store.take(message);
});
let wasLive = false;
connection.onState(({ phase }) => {
  const isLive = phase === "live";
  if (isLive && !wasLive) {
    app.models(true).catch(() => {});
  }
  wasLive = isLive;
  document.body.classList.toggle("offline", phase === "waiting" || phase === "connecting");
  showState();
});
store.listen((news, stats) => {
  if (news === "stats") put(facts, `${location.host} · up ${uptime(stats.uptime_seconds)}`);
});

document.querySelector(".skip")?.addEventListener("click", (event) => {
  event.preventDefault(); // which would be another view
  root.focus();
});
retry.addEventListener("click", () => connection.connect());
window.addEventListener("online", () => connection.connect());
document.addEventListener("visibilitychange", () => connection.hide(document.hidden));
window.addEventListener("hashchange", show);

connection.subscribe("$stats");
connection.subscribe("$alerts");
if (document.hidden) connection.hide(true);
else connection.connect();
show();
