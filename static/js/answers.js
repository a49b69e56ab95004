/** What came back: the latest prediction with its scores as bars, and the last answers as a table. */

import { el, perMoment, put } from "./dom.js";
import { count, milliseconds, number } from "./format.js";
import { elementNames, flat, labelText, score } from "./values.js";

/** @typedef {import("./session.js").Answer} Answer */
/** @typedef {import("./session.js").TrySession} TrySession */

const KEPT = 100;
const BARS = 32;

/**
 * @param {TrySession} session
 * @returns {{element: HTMLElement, add: (answer: Answer) => void, ask: () => void, stop: () => void}}
 */
export function buildAnswers(session) {
  const facts = Object.fromEntries(
    ["Label", "Round trip", "Queue", "Run", "Batch"].map((name) => [name, el("dd", {}, "–")]),
  );
  const entries = Object.entries(facts).map(([name, value]) =>
    el("div", name === "Label" ? { class: "wide" } : {}, el("dt", {}, name), value),
  );
  const tally = el("p", { class: "muted" });
  const outputs = el("div", { class: "outputs" });
  const body = el("tbody");
  const names = ["Answer to", "Prediction", "Score", "Round trip"];
  const headings = names.map((name) =>
    el("th", { scope: "col", class: name === "Score" || name === "Round trip" ? "number" : undefined }, name),
  );
  const table = el(
    "table",
    {},
    el("caption", { class: "visually-hidden" }, "The last answers, newest first"),
    el("thead", {}, el("tr", {}, ...headings)),
    body,
  );
  /** @type {Answer[]} */
  let fresh = [];
  /** @type {Answer | undefined} */
  let latest;
  const draw = barsOf(outputs, session);
  const frame = perMoment(() => {
    const { sent, predictions, errors, lost } = session.counts;
    const losses = lost ? `, ${count(lost)} lost with the connection` : "";
    put(tally, `${count(sent)} sent, ${count(predictions)} predictions, ${count(errors)} errors${losses}`);
    const rows = fresh.map((answer) => rowOf(answer, session)).reverse();
    fresh = [];
    body.prepend(...rows);
    while (body.rows.length > KEPT) body.deleteRow(-1);
    if (!latest) return;
    const { us } = latest.message;
    put(facts.Label, labelText(latest.message.label) || "–");
    put(facts["Round trip"], milliseconds(latest.ms).join(" "));
    put(facts.Queue, milliseconds(us && us.queue / 1000).join(" "));
    put(facts.Run, milliseconds(us && us.run / 1000).join(" "));
    put(facts.Batch, us ? count(us.batch) : "–");
    draw(latest);
  });
  const now = el(
    "section",
    { class: "card" },
    el("h2", {}, "Prediction"),
    el("dl", { class: "now" }, ...entries),
    outputs,
    tally,
  );
  const last = el(
    "section",
    { class: "card" },
    el("h2", {}, "Answers"),
    el("div", { class: "scroll answers", tabindex: 0, role: "region", "aria-label": "Answers" }, table),
  );
  frame.ask();
  return {
    element: el("div", { class: "side" }, now, last),
    add(answer) {
      fresh.push(answer);
      if (fresh.length > KEPT) fresh.shift();
      if (answer.message.outputs) latest = answer;
      frame.ask();
    },
    ask: frame.ask,
    stop: frame.stop,
  };
}

/**
 * @param {Answer} answer
 * @param {TrySession} session
 */
function rowOf({ name, message, ms }, session) {
  const trip = el("td", { class: "number" }, milliseconds(ms).join(" "));
  const where = message.key === undefined ? name : `${name} · ${message.key}`;
  if (message.error) {
    const { code, message: text } = message.error;
    return el("tr", { class: "failed" }, el("td", {}, where), el("td", { colspan: 2 }, `${code}: ${text}`), trip);
  }
  const best = score(/** @type {any} */ (message), session.model);
  const text = labelText(message.label) || Object.keys(message.outputs).join(", ");
  return el("tr", {}, el("td", {}, where), el("td", {}, text), el("td", { class: "number" }, number(best)), trip);
}

/**
 * Return what draws the outputs of an answer into an element; it is built anew only where their names change.
 *
 * @param {HTMLElement} root
 * @param {TrySession} session
 * @returns {(answer: Answer) => void}
 */
function barsOf(root, session) {
  let built = "";
  /** @type {((outputs: Record<string, unknown>) => void)[]} */
  let writers = [];
  return ({ message }) => {
    const outputs = /** @type {Record<string, unknown>} */ (message.outputs);
    const layout = JSON.stringify(Object.entries(outputs).map(([name, value]) => [name, flat(value, Infinity).length]));
    if (layout !== built) {
      built = layout;
      writers = [];
      root.replaceChildren(...Object.entries(outputs).map(([name, value]) => outputOf(name, value, session, writers)));
    }
    for (const write of writers) write(outputs);
  };
}

/**
 * @param {string} name
 * @param {unknown} value
 * @param {TrySession} session
 * @param {((outputs: Record<string, unknown>) => void)[]} writers
 */
function outputOf(name, value, session, writers) {
  const size = flat(value, Infinity).length;
  const title = el("h3", {}, name);
  if (!size) {
    const text = el("pre", {});
    writers.push((outputs) => put(text, JSON.stringify(outputs[name], null, 1)));
    return el("div", {}, title, text);
  }
  const lines = elementNames(name, size, session.model.labels?.[name])
    .slice(0, BARS)
    .map((element) => {
      const fill = el("i");
      const text = el("span", { class: "number" });
      return {
        line: el(
          "div",
          { class: "score" },
          el("span", {}, element),
          el("span", { class: "track", "aria-hidden": "true" }, fill),
          text,
        ),
        fill,
        text,
      };
    });
  const more = size > BARS ? [el("p", { class: "muted" }, `and ${count(size - BARS)} more`)] : [];
  writers.push((outputs) => {
    const values = flat(outputs[name], BARS);
    const largest = Math.max(1, ...values.map((x) => Math.abs(x) || 0));
    for (const [at, { fill, text, line }] of lines.entries()) {
      put(text, number(values[at]));
      fill.style.width = `${(100 * (Math.abs(values[at]) || 0)) / largest}%`;
      line.classList.toggle("negative", values[at] < 0);
    }
  });
  return el("div", {}, title, ...lines.map(({ line }) => line), ...more);
}
