/** What operators see and do: the sockets of a server, its models, and how much it logs. */

import { confirmed } from "./confirm.js";
import { el, put } from "./dom.js";
import { buildSockets } from "./sockets.js";

/**
 * @typedef {import("./types.js").App} App
 * @typedef {import("./types.js").ModelInfo} ModelInfo
 * @typedef {import("./sockets.js").SessionInfo} SessionInfo
 *
 * @typedef {(method: string, path: string, body?: unknown) => Promise<any>} Order  rejects with the server's words
 * @typedef {(work: Promise<unknown>) => Promise<void>} Attempt  tells what went wrong
 */

const REFRESH_MS = 2_000;
const LEVELS = ["debug", "info", "warning", "error"];
const DRAINED = "drained by an operator"; // the reason that the server gives

/** @type {import("./types.js").Mount} */
export function mount(root, app) {
  const order = orderOf(app);
  const problem = el("p", { class: "notice", role: "alert", hidden: true });
  const stale = el("p", { class: "notice", role: "status", hidden: true });
  /** @type {Attempt} */
  const attempt = (work) => work.then(() => tell(problem, ""), (error) => tell(problem, error.message));
  const sockets = buildSockets((session) => session === app.connection.session, (info) => attempt(close(info)));
  const models = buildModels(order, attempt, refresh);
  const level = buildLevel(order, attempt);
  root.append(
    el("div", { class: "head" }, el("h1", {}, "Admin"), level.element),
    problem,
    stale,
    sockets.element,
    models.element,
    el("p", { class: "muted" }, "Orders reach all processes of the server. Models and the log level are shown as they are at the one that answers."),
  );

  /** @param {SessionInfo} info */
  async function close({ session, kind, identity, address }) {
    const whose = identity === null ? "somebody who has not said who it is" : identity;
    const detail = `Session ${session}, from ${address}. Its client may come again, unless its credential is revoked.`;
    if (!(await confirmed(`Close the ${kind} socket of ${whose}?`, detail, "Close it"))) return;
    sockets.focus(); // the row is about to go
    await order("DELETE", `/v1/admin/sessions/${encodeURIComponent(session)}`);
    await refresh();
  }

  let isGone = false;
  let isAsking = false;
  /** @type {any} */
  let timer = null;
  async function refresh() {
    const [{ sessions, total, silent }] = await Promise.all([order("GET", "/v1/admin/sessions"), app.models(true)]);
    if (isGone) return;
    sockets.show(sessions, total);
    models.show([...app.store.models.values()]);
    tell(stale, silent ? `${ofProcesses(silent)} not answered: sockets that are there are missing here.` : "");
  }
  async function cycle() {
    clearTimeout(timer);
    if (isGone) return;
    timer = setTimeout(cycle, REFRESH_MS);
    if (document.hidden || isAsking) return;
    isAsking = true;
    await refresh().catch((error) => tell(stale, `This is not up to date: ${error.message}`));
    isAsking = false;
  }
  document.addEventListener("visibilitychange", cycle);
  cycle();
  level.load();
  return () => {
    isGone = true;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", cycle);
  };
}

/**
 * @param {HTMLElement} notice
 * @param {string} words
 */
function tell(notice, words) {
  put(notice, words);
  notice.hidden = !words;
}

/** @param {number} silent */
function ofProcesses(silent) {
  return silent === 1 ? "1 process has" : `${silent} processes have`;
}

/**
 * @param {App} app
 * @returns {Order}
 */
function orderOf({ account }) {
  return async (method, path, body) => {
    const options = body === undefined ? { method } : { method, body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
    const reply = await account.fetch(path, options).catch(() => null);
    if (!reply) throw new Error("the server cannot be reached");
    const answer = await reply.json().catch(() => ({}));
    if (!reply.ok) throw new Error(answer.error?.message ?? `the server answered ${reply.status}`);
    if (answer.silent && method !== "GET") throw new Error(`${ofProcesses(answer.silent)} not answered, all others have done it.`);
    return answer;
  };
}

/**
 * @param {Order} order
 * @param {Attempt} attempt
 */
function buildLevel(order, attempt) {
  const select = el("select", { id: "log-level", disabled: true }, ...LEVELS.map((name) => el("option", { value: name }, name)));
  const told = el("span", { class: "muted", role: "status" });
  const change = async () => {
    const { level } = await order("PUT", "/v1/admin/log-level", { level: select.value });
    put(told, `The server logs ${level} and worse.`);
  };
  const load = async () => {
    const { level } = await order("GET", "/v1/admin/log-level");
    select.value = level;
    select.disabled = false;
  };
  select.addEventListener("change", () => attempt(change().catch((error) => load().then(() => Promise.reject(error)))));
  return {
    element: el("div", { class: "end" }, told, el("label", { for: "log-level" }, "Log level"), select),
    load: () => attempt(load()),
  };
}

/**
 * @param {Order} order
 * @param {Attempt} attempt
 * @param {() => Promise<void>} refresh
 */
function buildModels(order, attempt, refresh) {
  const body = el("tbody");
  const headings = ["Model", "Version", "State", "Why"].map((title) => el("th", { scope: "col" }, title));
  const last = el("th", { scope: "col" }, el("span", { class: "visually-hidden" }, "Orders"));
  const table = el("table", {}, el("thead", {}, el("tr", {}, ...headings, last)), body);
  const scroll = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-labelledby": "held" }, table);
  /** @type {Map<string, ModelRow>} */
  let rows = new Map();
  /** @param {ModelInfo} model */
  const toggle = async ({ name, reason }) => {
    const path = `/v1/admin/models/${encodeURIComponent(name)}`;
    if (reason === DRAINED) await order("POST", `${path}/resume`);
    else {
      const detail = "It stays in memory and takes no further events until it is resumed.";
      if (!(await confirmed(`Drain ${name}?`, detail, "Drain it"))) return;
      await order("POST", `${path}/drain`);
    }
    await refresh();
  };
  return {
    element: el("section", { class: "card" }, el("h2", { id: "held" }, "Models"), scroll),
    /** @param {ModelInfo[]} models */
    show(models) {
      const names = models.map(({ name }) => name).sort();
      if (names.join("\n") !== [...rows.keys()].join("\n")) {
        rows = new Map(names.map((name) => [name, rows.get(name) ?? new ModelRow((model) => attempt(toggle(model)))]));
        body.replaceChildren(...[...rows.values()].map(({ element }) => element));
      }
      for (const model of models) rows.get(model.name)?.show(model);
    },
  };
}

/** One model. */
class ModelRow {
  /** @param {(model: ModelInfo) => Promise<void>} toggle */
  constructor(toggle) {
    this.name = el("td");
    this.version = el("td");
    this.state = el("span", { class: "pill" });
    this.why = el("td", { class: "muted" });
    this.button = el("button", { type: "button" });
    this.element = el("tr", {}, this.name, this.version, el("td", {}, this.state), this.why, el("td", { class: "number" }, this.button));
    /** @type {ModelInfo | undefined} */
    this.model = undefined;
    this.button.addEventListener("click", async () => {
      if (!this.model || this.button.ariaDisabled === "true") return;
      this.button.ariaDisabled = "true"; // and not disabled, which would lose the focus
      await toggle(this.model);
      this.button.ariaDisabled = null;
    });
  }

  /** @param {ModelInfo} model */
  show(model) {
    const verb = model.reason === DRAINED ? "Resume" : "Drain";
    this.model = model;
    put(this.name, model.name);
    put(this.version, model.version);
    put(this.state, model.state);
    this.state.className = `pill ${model.state}`;
    put(this.why, model.reason ?? "");
    put(this.button, verb);
    this.button.setAttribute("aria-label", `${verb} ${model.name}`);
  }
}
