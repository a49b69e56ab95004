import { Chart, loadCharts, STRIP_SECONDS } from "./charts.js";
import { onScheme } from "./draw.js";
import { el, perFrame, put } from "./dom.js";
import { age, count, duration, milliseconds, number } from "./format.js";
import { History } from "./history.js";
import { elementNames, labelText, picture, waterfall } from "./values.js";

/**
 * @typedef {import("./types.js").App} App
 * @typedef {import("./types.js").TensorInfo} TensorInfo
 * @typedef {import("./types.js").Timing} Timing
 * @typedef {import("./types.js").Update} Update
 * @typedef {import("./charts.js").UPlot} UPlot
 * @typedef {import("./values.js").Picture} Picture
 */

const HZ = 20;
const BREAK_SECONDS = 5; // without an update, after which a line is not drawn on
const MOST_TENSORS = 4;
const SPANS_MS = 500; // the waterfall shows one prediction for so long, else it cannot be read

/** @type {import("./types.js").Mount} */
export function mount(root, app, topic) {
  const { store } = app;
  const slash = topic.indexOf("/");
  const [model, key] = [topic.slice(0, slash), topic.slice(slash + 1)];
  document.title = `${key} · Waterspout`;

  const state = el("span", { class: "pill", role: "status" }, "waiting for a prediction");
  const pause = el("button", { type: "button", "aria-pressed": "false" }, "Pause");
  const facts = makeFacts(["Label", "Score", "Rate", "Latency", "Batch", "Predictions", "Age"]);
  const spans = makeSpans();
  const places = {
    outputs: el("div", { class: "plots" }),
    inputs: el("div", { class: "plots" }, el("p", { class: "muted" }, "Nothing yet.")),
    latency: el("div", { class: "plots" }),
  };
  const charts = el(
    "div",
    { class: "charts live" },
    card("Outputs", places.outputs, "chart"),
    card("Inputs", places.inputs, "chart"),
    card("Latency", places.latency, "chart"),
    card("The way of one prediction", spans.element, "chart"),
  );
  root.append(
    el("div", { class: "head" },
      el("a", { href: "#streams" }, "← Streams"),
      el("h1", {}, key),
      el("span", { class: "pill" }, model),
      state,
      el("div", { class: "end" }, pause),
    ),
    el("section", { class: "card live", "aria-label": "Now" }, facts.element),
    charts,
  );

  /** @type {Update | null} */
  let latest = null;
  /** @type {Update | null} */
  let spanned = null;
  let spannedAt = -Infinity;
  let isPaused = false;
  let isGone = false;
  /** @type {Panel | null} */
  let latency = null;
  /** @type {Map<string, Panel>} */
  const panels = new Map();

  loadCharts().then((uPlot) => {
    if (isGone) return;
    if (!uPlot) {
      charts.before(
        el("p", { class: "notice" }, "Charts need uPlot, which is not installed. Stop the server, run ", el("code", {}, "make run"), ", and reload this page."),
      );
      return;
    }
    latency = new Panel(uPlot, places.latency, ["total", "queue", "run"], true, {
      colors: [7, 1, 0],
      format: duration,
      range: (_, most) => [0, most * 1.1 || 1],
    });
    panels.set("latency", latency);
    draw = makeDraw(uPlot);
    if (latest) take(latest);
  });

  /** @type {(update: Update) => void} */
  let draw = () => {};

  /** @param {UPlot} uPlot */
  function makeDraw(uPlot) {
    /**
     * @param {"inputs" | "outputs"} side
     * @param {Record<string, unknown>} tensors
     * @param {number} ts
     */
    const side = (side, tensors, ts) => {
      const info = store.models.get(model);
      for (const [name, tensor] of Object.entries(tensors).slice(0, MOST_TENSORS)) {
        const labels = side === "outputs" ? info?.labels?.[name] : undefined;
        const spec = info?.[side]?.find((candidate) => candidate.name === name);
        const seen = picture(tensor, spec?.shape);
        if (seen) panelOf(uPlot, side, name, seen, labels).take(ts, seen);
      }
    };
    return (/** @type {Update} */ update) => {
      if (update.outputs) side("outputs", update.outputs, update.ts);
      if (update.inputs) side("inputs", update.inputs, update.ts);
      if (update.us) {
        const { total, queue, run } = update.us;
        latency?.take(update.ts, { kind: "strip", lines: [[total / 1000], [queue / 1000], [run / 1000]] });
      }
    };
  }

  /**
   * @param {UPlot} uPlot
   * @param {"inputs" | "outputs"} side
   * @param {string} name
   * @param {Picture} seen
   * @param {string[]} [labels]
   * @returns {Panel} anew where the model has become another
   */
  function panelOf(uPlot, side, name, { kind, lines }, labels) {
    const id = `${side} ${name}`;
    const known = panels.get(id);
    if (known && known.isTime === (kind === "strip") && known.names.length === lines.length) return known;
    known?.destroy();
    if (![...panels.keys()].some((other) => other.startsWith(side))) places[side].replaceChildren();
    const range = labels && kind === "strip" ? unit : undefined;
    const panel = new Panel(uPlot, places[side], elementNames(name, lines.length, labels), kind === "strip", { range });
    panels.set(id, panel);
    return panel;
  }

  /** @param {Update} update */
  function take(update) {
    if (update.ended) return;
    draw(update);
  }

  const frame = perFrame(() => {
    const stream = store.streams.get(topic);
    const now = store.serverTime();
    if (stream) {
      put(state, stream.isEnded ? "ended" : "live");
      state.className = `pill ${stream.isEnded ? "bad" : "ready"}`;
      facts.put("Rate", `${count(stream.rate(now))}/s`);
      facts.put("Age", age(now - stream.ts));
    } else if (latest) {
      put(state, "ended");
      state.className = "pill bad";
    }
    if (isPaused || !latest) return;
    if (stream) facts.put("Score", number(stream.score));
    facts.put("Label", labelText(latest.label) || "–");
    facts.put("Latency", latest.us ? milliseconds(latest.us.total / 1000).join(" ") : "–");
    facts.put("Batch", count(latest.us?.batch));
    facts.put("Predictions", count(latest.n));
    for (const panel of panels.values()) panel.show();
    if (latest.us && latest !== spanned && performance.now() - spannedAt >= SPANS_MS) {
      spanned = latest;
      spannedAt = performance.now();
      spans.show(latest.us, latest);
    }
  });

  const unlisten = store.listen((news, message) => {
    if (news === "stream" && message.topic === topic) {
      /** @type {Update} */
      const update = message;
      if (update.n === latest?.n && !(update.inputs && !latest.inputs)) return; // of another pattern
      if (!update.ended) latest = update;
      take(update);
      frame.ask();
    } else if (news === "streams") frame.ask();
  });
  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.setAttribute("aria-pressed", String(isPaused));
    put(pause, isPaused ? "Resume" : "Pause");
    frame.ask();
  });
  const unscheme = onScheme(() => {
    for (const panel of panels.values()) panel.chart.repaint();
  });
  const ticking = setInterval(frame.ask, 1000);
  const unsubscribe = app.connection.subscribe(topic, { hz: HZ, inputs: true });
  frame.ask();
  return () => {
    isGone = true;
    frame.stop();
    clearInterval(ticking);
    unsubscribe();
    unlisten();
    unscheme();
    for (const panel of panels.values()) panel.destroy();
  };
}

/** A chart and what it shows: the last minute of a few numbers, or a tensor as it stands. */
class Panel {
  /**
   * @param {UPlot} uPlot
   * @param {HTMLElement} parent
   * @param {string[]} names
   * @param {boolean} isTime
   * @param {Partial<import("./charts.js").Look>} look
   */
  constructor(uPlot, parent, names, isTime, look) {
    this.names = names;
    this.isTime = isTime;
    this.place = el("div", { class: "plot" });
    parent.append(this.place);
    this.chart = new Chart(uPlot, this.place, { names, isTime, ...look });
    this.history = new History(names.length, STRIP_SECONDS);
    this.isOld = false;
    /** @type {number[]} */
    this.positions = [];
    /** @type {number[][]} */
    this.lines = [];
    this.ts = 0;
  }

  /**
   * @param {number} ts
   * @param {Picture} picture
   */
  take(ts, { lines }) {
    this.isOld = true;
    if (this.isTime) {
      if (this.ts && ts - this.ts > BREAK_SECONDS) this.history.break();
      this.history.push(ts, lines.map(([value]) => value));
    }
    this.ts = ts;
    this.lines = lines;
  }

  /** Draw what has come since the last time. */
  show() {
    if (!this.isOld) return;
    this.isOld = false;
    if (this.isTime) {
      this.chart.show(this.history.data);
      return;
    }
    const { length } = this.lines[0];
    if (this.positions.length !== length) this.positions = Array.from({ length }, (_, index) => index);
    this.chart.show([this.positions, ...this.lines]);
  }

  destroy() {
    this.chart.destroy();
    this.place.remove();
  }
}

/**
 * The range of scores, if they are such.
 *
 * @param {number} least
 * @param {number} most
 * @returns {[number, number]}
 */
function unit(least, most) {
  return [Math.min(0, least), Math.max(1, most)];
}

/**
 * @param {string} title
 * @param {HTMLElement} content
 * @param {string} kind
 */
function card(title, content, kind) {
  return el("section", { class: `card ${kind}`, "aria-label": title }, el("h2", {}, title), content);
}

/** @param {string[]} names */
function makeFacts(names) {
  const values = new Map(names.map((name) => [name, el("dd", {}, "–")]));
  const pairs = [...values].map(([name, value]) => el("div", { class: name === "Label" ? "wide" : "" }, el("dt", {}, name), value));
  return {
    element: el("dl", { class: "now" }, ...pairs),
    /**
     * @param {string} name
     * @param {string} text
     */
    put(name, text) {
      put(/** @type {HTMLElement} */ (values.get(name)), text);
    },
  };
}

function makeSpans() {
  const lines = ["Queue", "Run", "Delivery"].map((name, index) => {
    const bar = el("i", { "data-series": index });
    const length = el("span", { class: "number" }, "–");
    return { bar, length, element: el("div", { class: "span" }, el("span", {}, name), el("span", { class: "track" }, bar), length) };
  });
  const total = el("span", {}, "socket");
  const caption = el("p", { class: "muted" }, "Socket to socket, with the batch that it ran in.");
  return {
    element: el(
      "div",
      { class: "spans" },
      el("div", { class: "ends" }, el("span", {}, "socket"), total),
      ...lines.map(({ element }) => element),
      caption,
    ),
    /**
     * @param {Timing} us
     * @param {Update} update
     */
    show(us, update) {
      const whole = Math.max(1, us.total, us.queue + us.run);
      waterfall(us).forEach(({ start, length }, index) => {
        const { bar, length: text } = lines[index];
        bar.style.left = `${(start / whole) * 100}%`;
        bar.style.width = `${(length / whole) * 100}%`;
        put(text, duration(length / 1000));
      });
      put(total, `socket, ${duration(us.total / 1000)}`);
      const id = update.id === undefined ? "" : `, event ${update.id}`;
      put(caption, `Prediction ${count(update.n)}${id}, in a batch of ${count(us.batch)}.`);
    },
  };
}
