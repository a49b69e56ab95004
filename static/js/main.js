import { Account, browserWorld } from "./account.js";
import { Connection, watchUrl } from "./connection.js";
import { el, empty, find } from "./dom.js";
import { buildSignIn } from "./sign_in.js";
import { showStatus } from "./status_bar.js";
import { Store } from "./store.js";
import { TicketedSocket } from "./ticketed_socket.js";

/**
 * @typedef {import("./types.js").App} App
 * @typedef {import("./types.js").Mount} Mount
 * @typedef {import("./types.js").ModelInfo} ModelInfo
 * @typedef {import("./types.js").Stop} Stop
 * @typedef {import("./scopes.js").Scopes} Scopes
 *
 * @typedef {object} View  `lacks` names a scope that is needed and not there, or returns ""
 * @property {string} title
 * @property {() => Promise<{mount: Mount}>} load
 * @property {(scopes: Scopes, argument: string) => string} [lacks]
 */

const SWEEP_MS = 2_000; // the snapshot has come by then
const OWN_TOPICS = ["$stats", "$alerts"];

/** @type {Record<string, View>} */
const VIEWS = {
  overview: { title: "Overview", load: () => import("./overview.js") },
  streams: {
    title: "Streams",
    load: () => import("./streams.js"),
    lacks: (scopes) => (scopes.streams.length ? "" : "watch:<model>/<key>"),
  },
  stream: {
    title: "Stream",
    load: () => import("./stream.js"),
    lacks: (scopes, topic) => (scopes.mayWatch(topic) ? "" : `watch:${topic}`),
  },
  try: {
    title: "Try it",
    load: () => import("./try.js"),
    lacks: (scopes) => (scopes.maySend ? "" : "predict:<model>"),
  },
  admin: { title: "Admin", load: () => import("./admin.js"), lacks: (scopes) => (scopes.isAdmin ? "" : "admin") },
};

const root = find("view");
const account = new Account(browserWorld());
const connection = new Connection({ open: () => new TicketedSocket(account, watchUrl(location.href)) });
const store = new Store();
const signIn = buildSignIn(account);

/** @type {Promise<ModelInfo[]> | null} */
let asked = null;

/** @type {App} */
const app = {
  account,
  connection,
  store,
  models(fresh = false) {
    if (fresh || !asked) {
      const mine = (asked = fetchModels());
      mine.catch(() => (asked = asked === mine ? null : asked));
    }
    return asked;
  },
  go: (hash) => {
    location.hash = hash;
  },
};

/** @returns {Promise<ModelInfo[]>} */
async function fetchModels() {
  const whose = account.me;
  const reply = await account.fetch("/v1/models");
  if (!reply.ok) throw new Error(`GET /v1/models: ${reply.status}`);
  const { models } = await reply.json();
  if (account.me === whose) store.takeModels(models);
  return models;
}

/** @type {Stop} */
let stop = () => {};
let turn = 0;

/** Show the view that the address names, once it is known who looks. */
async function show() {
  const [name, ...rest] = location.hash.slice(1).split("/");
  const known = Object.hasOwn(VIEWS, name) ? name : "overview";
  const view = VIEWS[known];
  document.title = `${view.title} · Waterspout`;
  if (!account.me) return;
  const mine = ++turn;
  stop();
  stop = () => {};
  const isFirst = mine === 1;
  for (const link of document.querySelectorAll("nav a")) {
    const target = /** @type {HTMLAnchorElement} */ (link).hash.slice(1);
    if (VIEWS[target] === view || (target === "streams" && name === "stream")) {
      link.setAttribute("aria-current", "page");
      link.scrollIntoView({ block: "nearest", inline: "nearest" }); // of a bar that is too narrow for all
    } else link.removeAttribute("aria-current");
  }
  /** @type {HTMLElement} */
  const page = el("div", { class: `view ${known}` });
  const argument = decode(rest.join("/"));
  const scope = view.lacks?.(account.scopes, argument);
  try {
    if (scope) root.replaceChildren(notAllowed(scope));
    else {
      const { mount } = await view.load();
      if (mine !== turn) return;
      root.replaceChildren(page);
      stop = mount(page, app, argument);
    }
  } catch (error) {
    if (mine !== turn) return;
    console.error(error);
    root.replaceChildren(empty("This view could not be loaded", "Reload the page once the server can be reached."));
  }
  window.scrollTo(0, 0);
  if (!isFirst) root.focus({ preventScroll: true });
}

/** @param {string} scope */
function notAllowed(scope) {
  return empty("Your API key or token does not allow this", "It needs the scope ", el("code", {}, scope), ".");
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

const who = find("who");
const leaving = find("sign-out");

/** @type {Stop} */
let leave = () => {};

/** Take down what one person saw, and show what the next may see. */
function change() {
  leave();
  leave = () => {};
  if (account.me) enter(account.me);
  else {
    root.replaceChildren();
    connection.leave();
    signIn.open();
  }
}

/** @param {import("./account.js").Me} me */
function enter({ name, kind }) {
  signIn.close();
  who.hidden = leaving.hidden = kind === "open";
  who.replaceChildren(el("span", { class: "visually-hidden" }, "Signed in as "), name);
  who.title = leaving.title = `Signed in as ${name}`;
  find("to-admin").hidden = !account.scopes.isAdmin;
  const topics = OWN_TOPICS.filter((topic) => account.scopes.mayWatch(topic));
  const subscribed = topics.map((topic) => connection.subscribe(topic));
  connection.enter();
  show();
  leave = () => {
    turn += 1;
    stop();
    stop = () => {};
    connection.leave();
    for (const unsubscribe of subscribed) unsubscribe();
    for (const dialog of document.querySelectorAll("dialog")) dialog.close();
    store.clear();
    asked = null;
    find("to-admin").hidden = who.hidden = leaving.hidden = true;
    who.replaceChildren();
    who.title = leaving.title = "";
  };
}

showStatus(connection, store);
connection.onMessage((message) => {
  for (const pattern of message.op === "subscribed" ? message.topics : []) {
    const doubt = store.doubt(pattern);
    setTimeout(() => store.sweep(doubt), SWEEP_MS);
  }
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
});

document.querySelector(".skip")?.addEventListener("click", (event) => {
  event.preventDefault(); // which would be another view
  root.focus();
});
leaving.addEventListener("click", () => account.signOut());
window.addEventListener("online", () => connection.connect());
document.addEventListener("visibilitychange", () => connection.hide(document.hidden));
window.addEventListener("hashchange", show);

account.onChange(change);
if (document.hidden) connection.hide(true);
else connection.connect(); // which asks who this is, again and again if need be
account.check().catch(() => {});
show();
