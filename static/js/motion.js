/**
 * The device's own motion sensor as a stream of samples: three accelerations in m/s² without gravity, and for six
 * channels three rates of rotation in rad/s, each as x, y, z of the device.
 */

import { el, put } from "./dom.js";
import { eventInputs } from "./form.js";
import { Interrupted } from "./session.js";
import { sizeOf } from "./tensor_text.js";

/** @typedef {import("./types.js").ModelInfo} ModelInfo */
/** @typedef {import("./session.js").TrySession} TrySession */
/** @typedef {import("./session.js").Item} Item */

/** @typedef {{x: number | null, y: number | null, z: number | null} | null} Vector */
/** @typedef {{alpha: number | null, beta: number | null, gamma: number | null} | null} Rotation  degrees per second */
/** @typedef {{acceleration: Vector, accelerationIncludingGravity: Vector, rotationRate: Rotation}} Reading */

const SILENCE_MS = 3_000;
const MOMENT_MS = 100;
const RADIANS = Math.PI / 180;
const FASTEST = 100; // a second; browsers give no more than 60

/**
 * Return how many channels of the sensor a model takes per event, and why none where it takes none.
 *
 * @param {ModelInfo} model
 * @returns {{channels: 0 | 3 | 6, why: string}}
 */
export function channelsOf(model) {
  const inputs = eventInputs(model);
  if (inputs.length !== 1)
    return { channels: 0, why: `this model takes ${inputs.length ? "more than one" : "no"} input` };
  const [{ dtype, shape }] = inputs;
  const size = sizeOf(shape);
  if (!dtype.includes("float")) return { channels: 0, why: `this model takes ${dtype}, and a sensor gives fractions` };
  if (size === 3 || size === 6) return { channels: size, why: "" };
  const got = size < 0 ? "any number" : String(size);
  const unit = model.window ? "sample" : "event";
  return { channels: 0, why: `a motion sensor gives 3 or 6 numbers, and this model takes ${got} per ${unit}` };
}

/**
 * Return what keeps a page from the sensor; empty where nothing is known to.
 *
 * @param {{isSecureContext: boolean, DeviceMotionEvent?: unknown}} page
 * @returns {string}
 */
export function obstacle(page) {
  if (!page.isSecureContext) return "browsers give it to pages of https:// and of this very machine only";
  return page.DeviceMotionEvent === undefined ? "this browser gives pages none" : "";
}

/**
 * Return the channels of a reading, null where the device lacks one of them. Alpha, beta and gamma are the rates
 * around x, y and z: so browsers do, and so the specification says since (w3c/deviceorientation, issue 44).
 *
 * @param {Reading} reading
 * @param {3 | 6} channels
 * @returns {number[] | null}
 */
export function numbersOf({ acceleration, accelerationIncludingGravity, rotationRate }, channels) {
  const felt = acceleration?.x == null ? accelerationIncludingGravity : acceleration;
  const turned = rotationRate ? [rotationRate.alpha, rotationRate.beta, rotationRate.gamma] : []; // around x, y, z
  const turns = turned.map((degrees) => (degrees === null ? null : degrees * RADIANS));
  const numbers = [felt?.x, felt?.y, felt?.z, ...(channels === 6 ? turns : [])];
  const isWhole = numbers.length === channels && numbers.every((n) => typeof n === "number" && Number.isFinite(n));
  return isWhole ? /** @type {number[]} */ (numbers) : null;
}

/** The mean of the readings between two samples: a sensor is quicker than a model wants it. */
export class Averager {
  constructor() {
    /** @type {number[]} */
    this.sums = [];
    this.readings = 0;
    /** @type {number[] | null} */
    this.last = null;
  }

  /** @param {number[]} numbers */
  add(numbers) {
    this.sums = numbers.map((n, at) => n + (this.sums[at] ?? 0));
    this.readings += 1;
  }

  /** @returns {number[] | null} the last sample again where there was no reading since; null before the first */
  take() {
    if (this.readings) this.last = this.sums.map((sum) => sum / this.readings);
    this.sums = [];
    this.readings = 0;
    return this.last;
  }
}

/**
 * @param {TrySession} session
 * @returns {{element: HTMLElement, setBusy: (isBusy: boolean) => void, stop: () => void}}
 */
export function buildMotionPanel(session) {
  const { channels, why } = channelsOf(session.model);
  const problem = why || obstacle(window);
  if (problem || !channels) {
    const element = el("p", { class: "muted" }, `The motion sensor cannot be streamed: ${problem}.`);
    return { element, setBusy() {}, stop() {} };
  }
  const rate = el("input", { type: "text", inputmode: "decimal", id: "motion-rate", value: 10, autocomplete: "off" });
  const start = el("button", { type: "button", class: "primary" }, "Start");
  const end = el("button", { type: "button", hidden: true }, "Stop");
  const status = el("p", { role: "status", class: "status" });
  const wrong = el("p", { class: "wrong", hidden: true });
  const values = el("p", { class: "hint" });
  /** @param {string} message */
  const tell = (message) => {
    wrong.hidden = !message;
    wrong.textContent = message;
  };

  const run = async () => {
    const perSecond = Number(rate.value.trim() || NaN);
    const isRate = perSecond > 0 && perSecond <= FASTEST;
    rate.setAttribute("aria-invalid", String(!isRate));
    if (!isRate) {
      tell(`rate: expected samples per second, above 0 and up to ${FASTEST}, got '${rate.value}'`);
      return rate.focus();
    }
    tell("");
    start.hidden = true;
    end.hidden = false;
    end.focus();
    const averager = new Averager();
    let lacks = false;
    const listener = (/** @type {DeviceMotionEvent} */ event) => {
      const numbers = numbersOf(/** @type {Reading} */ (event), channels);
      lacks ||= !numbers;
      if (!numbers) return;
      averager.add(numbers);
    };
    try {
      await allowed();
      window.addEventListener("devicemotion", listener);
      put(status, "Waiting for the sensor …");
      status.setAttribute("aria-live", "off"); // what changes with every sample is nothing to be read out
      await session.stream(
        samples(averager, perSecond, () => silence(lacks, channels)),
        Infinity,
      );
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      status.removeAttribute("aria-live");
      put(status, `Ended: ${message}.`);
      if (!(error instanceof Interrupted)) tell(message);
    }
    window.removeEventListener("devicemotion", listener);
    const hadFocus = document.activeElement === end;
    end.hidden = true;
    start.hidden = false;
    if (hadFocus) start.focus();
  };

  /**
   * @param {Averager} averager
   * @param {number} perSecond
   * @param {() => string} missing
   * @returns {AsyncGenerator<Item[]>}
   */
  async function* samples(averager, perSecond, missing) {
    const began = performance.now();
    for (let row = 1, due = began; ; due += 1000 / perSecond) {
      const now = performance.now();
      due = Math.max(due, now - 1000 / perSecond); // a page that slept does not catch up
      for (let left = due - now; left > 0; left = due - performance.now()) {
        await new Promise((resolve) => setTimeout(resolve, Math.min(left, MOMENT_MS)));
        yield []; // which lets it be stopped
      }
      const numbers = averager.take();
      if (!numbers && performance.now() - began > SILENCE_MS) throw new Error(missing());
      if (!numbers) continue;
      put(values, numbers.map((n) => n.toFixed(2)).join("  "));
      put(status, `${row} samples sent`);
      yield [{ row, event: { data: numbers } }];
      row += 1;
    }
  }

  start.addEventListener("click", run);
  end.addEventListener("click", () => session.stop());
  const speed = el("div", { class: "speed" }, el("label", { for: "motion-rate" }, "Samples per second"), rate);
  const element = el(
    "div",
    { class: "fields" },
    el("p", { class: "hint" }, hintOf(channels)),
    speed,
    el("div", { class: "buttons" }, start, end),
    status,
    values,
    wrong,
  );
  return {
    element,
    setBusy(isBusy) {
      start.disabled = isBusy;
    },
    stop() {},
  };
}

/** @param {3 | 6} channels */
function hintOf(channels) {
  const turns = channels === 6 ? ", then the rates of rotation around x, y and z in rad/s" : "";
  return `Acceleration along x, y and z in m/s², without gravity where the device can tell${turns}. Whether that is what the model was trained on, its README tells.`;
}

/** Ask for the permission that iOS wants; it must be asked for in the turn of a click. */
async function allowed() {
  const sensor = /** @type {{requestPermission?: () => Promise<string>}} */ (
    /** @type {unknown} */ (DeviceMotionEvent)
  );
  if (!sensor.requestPermission) return;
  if ((await sensor.requestPermission()) !== "granted") throw new Error("you did not allow the motion sensor");
}

/**
 * @param {boolean} lacks  whether there were readings, without what is needed
 * @param {3 | 6} channels
 */
function silence(lacks, channels) {
  if (lacks && channels === 6) return "this device has no motion sensor, or no gyroscope, which the model needs";
  return "nothing came from the motion sensor: this device seems to have none";
}
