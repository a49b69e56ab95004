/** The line at the foot of the page: whether it is live, and what the server had to say last. */

import { find, put } from "./dom.js";
import { uptime } from "./format.js";

/**
 * @typedef {import("./connection.js").Connection} Connection
 * @typedef {import("./store.js").Store} Store
 */

const NOTE_MS = 10_000;

/**
 * @param {Connection} connection
 * @param {Store} store
 */
export function showStatus(connection, store) {
  const line = find("state");
  const wait = find("wait");
  const retry = find("retry");
  const facts = find("facts");
  let note = "";
  /** @type {any} */
  let noted = null;
  /** @type {any} */
  let countdown = null;

  function show() {
    const { phase, retryAt, attempt } = connection.state;
    const texts = {
      live: note || "Live",
      connecting: attempt ? "Reconnecting …" : "Connecting …",
      waiting: "Connection lost",
      asleep: "Paused while hidden",
      away: "Not signed in",
    };
    line.dataset.phase = note && phase === "live" ? "refused" : phase;
    put(line, texts[phase]);
    retry.hidden = wait.hidden = phase !== "waiting";
    if (phase === "away") put(facts, "");
    clearTimeout(countdown);
    if (phase !== "waiting") return;
    const seconds = Math.max(0, Math.ceil((retryAt - performance.now()) / 1000));
    put(wait, `attempt ${attempt + 1} in ${seconds} s`); // beside the status, which is read aloud
    countdown = setTimeout(show, 500);
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
      show();
    }, NOTE_MS);
    show();
  }

  connection.onMessage((message) => {
    if (message.error) tell(`The server refused: ${message.error.message}`);
    else if (message.op === "gap") tell(`This page was too slow for ${message.count} updates`);
    else if (message.op) show();
  });
  connection.onState(show);
  store.listen((news, stats) => {
    if (news === "stats") put(facts, `${location.host} · up ${uptime(stats.uptime_seconds)}`);
  });
  retry.addEventListener("click", () => connection.connect());
}
