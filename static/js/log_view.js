/** The messages on the wire, exactly as they are. */

import { el, perMoment, put } from "./dom.js";

/** @typedef {import("./session.js").TrySession} TrySession */
/** @typedef {import("./flight.js").Entry} Entry */

const SHOWN_CHARACTERS = 2_000;
const NEAR = 8; // pixels
const NAMES = { out: "sent", in: "received", note: "note" };

/**
 * @param {TrySession} session
 * @returns {{element: HTMLElement, ask: () => void, stop: () => void}}
 */
export function buildLog(session) {
  const { log } = session;
  const state = el("p", { class: "muted", role: "status" });
  const list = el("ol", { class: "wire", tabindex: 0, "aria-label": "Messages on the wire, oldest first" });
  const missed = el("span", { class: "muted" });
  const flying = el("p", { class: "muted" });
  const pause = el("button", { type: "button", "aria-pressed": "false" }, "Pause");
  const copy = el("button", { type: "button" }, "Copy all");
  const clear = el("button", { type: "button" }, "Clear");
  /** @type {Map<Entry, HTMLElement>} */
  let shown = new Map();
  let isFollowing = true; // until the reader scrolls up
  let place = 0; // where the last frame left the list
  const frame = perMoment(() => {
    put(state, stateWords(session));
    put(flying, session.wire.welcome ? `In flight: ${session.flight.rows}` : "");
    put(missed, log.missed ? `${log.missed} not recorded while paused` : "");
    const entries = new Set(log.entries);
    for (const [entry, line] of shown) if (!entries.has(entry)) line.remove();
    shown = new Map(log.entries.map((entry) => [entry, shown.get(entry) ?? list.appendChild(lineOf(entry))]));
    if (isFollowing) list.scrollTop = list.scrollHeight;
    place = list.scrollTop;
  });
  list.addEventListener("scroll", () => {
    const isAtEnd = list.scrollTop + list.clientHeight >= list.scrollHeight - NEAR;
    isFollowing = isAtEnd || (isFollowing && list.scrollTop > place - NEAR);
  });
  pause.addEventListener("click", () => {
    log.isPaused = !log.isPaused;
    if (!log.isPaused) log.missed = 0;
    pause.setAttribute("aria-pressed", String(log.isPaused));
    put(pause, log.isPaused ? "Go on" : "Pause");
    frame.ask();
  });
  copy.addEventListener("click", async () => {
    put(copy, (await copied(log.text())) ? "Copied" : "Could not copy");
    setTimeout(() => put(copy, "Copy all"), 1500);
  });
  clear.addEventListener("click", () => {
    log.clear();
    frame.ask();
  });
  frame.ask();
  const head = el(
    "div",
    { class: "head" },
    el("h2", {}, "On the wire"),
    el("div", { class: "end" }, missed, pause, copy, clear),
  );
  return { element: el("section", { class: "card" }, head, state, flying, list), ask: frame.ask, stop: frame.stop };
}

/** @param {TrySession} session */
function stateWords({ wire }) {
  const { phase, reason } = wire.state;
  if (wire.welcome) {
    const { session, limits } = wire.welcome;
    return `Connected, session ${session}. At most ${limits.max_in_flight} may be in flight.`;
  }
  if (phase === "connecting") return reason ? `Reconnecting: ${reason}.` : "Connecting …";
  if (phase === "waiting") return `Connection lost: ${reason}. It is tried again by itself.`;
  return reason ? `Closed: ${reason}.` : "Not connected: the socket opens when you send something.";
}

/** @param {Entry} entry */
function lineOf({ direction, text }) {
  const rest = text.length - SHOWN_CHARACTERS;
  const code = el("code", {}, rest > 0 ? text.slice(0, SHOWN_CHARACTERS) : text);
  const line = el("li", { class: direction }, el("span", { class: "visually-hidden" }, `${NAMES[direction]}: `), code);
  if (rest > 0) line.append(el("span", { class: "muted" }, ` … ${rest} more characters, all in what is copied`));
  return line;
}

/**
 * Copy a text; pages that are no secure context have the old way only.
 *
 * @param {string} text
 * @returns {Promise<boolean>}
 */
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = el("textarea", { class: "visually-hidden", readonly: true });
    area.value = text;
    const focused = document.activeElement;
    document.body.append(area);
    area.select();
    const isDone = document.execCommand("copy");
    area.remove();
    if (focused instanceof HTMLElement) focused.focus();
    return isDone;
  }
}
