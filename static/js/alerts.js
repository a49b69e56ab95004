/** Alerts as they come, newest first. */

import { el } from "./dom.js";
import { clock, number } from "./format.js";

/**
 * @typedef {import("./types.js").Alert} Alert
 * @typedef {import("./store.js").Store} Store
 */

const FRESH_SECONDS = 5;

/**
 * @param {Store} store
 * @returns {{element: HTMLElement, show: () => void}}
 */
export function buildAlerts(store) {
  const list = el("ol", { class: "alerts", role: "log", "aria-labelledby": "alerts", tabindex: "0" });
  /** @type {Map<Alert, HTMLElement>} */
  let shown = new Map();
  return {
    element: list,
    show() {
      if (!store.alerts.length) {
        const advice = el("span", {}, "Rules are set in a model’s config.toml as ", el("code", {}, "[[alert]]"), ".");
        list.replaceChildren(el("li", { class: "muted" }, el("span", {}, "None so far. ", advice)));
        return;
      }
      if (!shown.size) list.replaceChildren();
      const next = new Map(store.alerts.map((alert) => [alert, shown.get(alert) ?? alertItem(alert, store.serverTime())]));
      let at = 0;
      for (const item of next.values()) {
        if (list.children[at] !== item) list.insertBefore(item, list.children[at] ?? null); // moves none that is there
        at += 1;
      }
      while (list.children.length > at) list.lastElementChild?.remove();
      shown = next;
    },
  };
}

/**
 * @param {Alert} alert
 * @param {number} now  unix seconds of the server
 * @returns {HTMLElement}
 */
function alertItem(alert, now) {
  const bound = alert.above === undefined ? alert.below : alert.above;
  const sign = alert.above === undefined ? "<" : ">";
  const why = [alert.label, bound === undefined ? "" : `${alert.output ?? "value"} ${number(alert.value)} ${sign} ${number(bound)}`];
  if ((alert.count ?? 1) > 1) why.push(`${alert.count} in a row`);
  return el(
    "li",
    { class: now - alert.ts < FRESH_SECONDS ? "fresh" : "" },
    el("span", {}, el("span", { class: "rule" }, alert.rule), " ", el("a", { href: `#stream/${encodeURIComponent(alert.topic)}` }, alert.topic)),
    el("time", { datetime: new Date(alert.ts * 1000).toISOString() }, clock(alert.ts)),
    el("span", { class: "why" }, why.filter(Boolean).join(" · ")),
  );
}
