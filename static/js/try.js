/** Try it: a model's form, a CSV file or the motion sensor in; predictions and the wire out. */

import { buildAnswers } from "./answers.js";
import { buildCsvPanel } from "./csv_panel.js";
import { el, empty, put } from "./dom.js";
import { buildForm, fieldNamed, fieldsOf } from "./form.js";
import { milliseconds } from "./format.js";
import { buildLog } from "./log_view.js";
import { buildMotionPanel } from "./motion.js";
import { TrySession } from "./session.js";
import { describe } from "./tensor_text.js";
import { labelText } from "./values.js";
import { browserWorld } from "./wire.js";

/** @typedef {import("./types.js").App} App */
/** @typedef {import("./types.js").ModelInfo} ModelInfo */
/** @typedef {import("./types.js").Stop} Stop */
/** @typedef {import("./session.js").Answer} Answer */

/** @type {import("./types.js").Mount} */
export function mount(root, app, argument) {
  const models = el("select", { id: "try-model" });
  const versions = el("select", { id: "try-version" });
  const versionLabel = el("label", { for: "try-version" }, "Version");
  const place = el("div");
  const picking = el(
    "div",
    { class: "end" },
    el("label", { for: "try-model" }, "Model"),
    models,
    versionLabel,
    versions,
  );
  root.append(el("div", { class: "head" }, el("h1", {}, "Try it"), picking), place);
  /** @type {ModelInfo[]} */
  let infos = [];
  /** @type {Stop} */
  let close = () => {};
  let turn = 0;

  const show = async () => {
    const mine = ++turn;
    const info = infos.find(({ name }) => name === models.value);
    close();
    close = () => {};
    if (!info) return;
    history.replaceState(null, "", `#try/${encodeURIComponent(info.name)}`);
    try {
      const model = versions.value ? await fetchVersion(app, info.name, versions.value) : info;
      if (mine !== turn) return;
      if (model.state !== "ready") {
        place.replaceChildren(
          empty(`${model.name} is ${model.state}`, model.reason ?? "It cannot be tried before it is ready."),
        );
        return;
      }
      close = open(place, app, model, versions.value || undefined);
    } catch (error) {
      if (mine === turn) place.replaceChildren(empty("The version could not be described", String(error)));
    }
  };
  const showVersions = () => {
    const known = infos.find(({ name }) => name === models.value)?.versions ?? [];
    const options = known.map(({ version, labels }) =>
      el("option", { value: version }, labels?.length ? `${version} (${labels.join(", ")})` : version),
    );
    versions.replaceChildren(el("option", { value: "" }, "newest"), ...options);
    versions.hidden = versionLabel.hidden = !known.length;
  };
  const load = async () => {
    const mine = ++turn;
    picking.hidden = true;
    try {
      infos = (await app.models(true)).filter(({ name }) => app.account.scopes.mayPredict(name));
    } catch {
      if (mine !== turn) return;
      const again = el("button", { type: "button" }, "Try again");
      again.addEventListener("click", load);
      place.replaceChildren(empty("The server cannot be reached", again));
      return;
    }
    if (mine !== turn) return;
    if (!infos.length) {
      place.replaceChildren(
        empty(
          "There are no models",
          "Put one into the models folder, ",
          el("code", {}, "models/NAME/1/model.onnx"),
          ", and start the server again.",
        ),
      );
      return;
    }
    models.replaceChildren(...infos.map(({ name }) => el("option", { value: name }, name)));
    const first = infos.find(({ state }) => state === "ready") ?? infos[0];
    models.value = infos.some(({ name }) => name === argument) ? argument : first.name;
    picking.hidden = false;
    showVersions();
    await show();
  };
  models.addEventListener("change", () => {
    showVersions();
    show();
  });
  versions.addEventListener("change", show);
  load();
  return () => {
    turn += 1;
    close();
  };
}

/**
 * @param {App} app
 * @param {string} name
 * @param {string} version
 * @returns {Promise<ModelInfo>}
 */
async function fetchVersion(app, name, version) {
  const reply = await app.account.fetch(`/v1/models/${encodeURIComponent(name)}/versions/${encodeURIComponent(version)}`);
  if (!reply.ok) throw new Error(`the server answered ${reply.status}`);
  return reply.json();
}

/**
 * @param {HTMLElement} place
 * @param {App} app
 * @param {ModelInfo} model
 * @param {string} [version]
 * @returns {Stop}
 */
function open(place, app, model, version) {
  const session = new TrySession(model, browserWorld(app.account, model.name, version));
  const answers = buildAnswers(session);
  const log = buildLog(session);
  const form = buildFormPanel(session);
  const csv = buildCsvPanel(session);
  const motion = buildMotionPanel(session);
  session.onAnswer = (answer) => {
    form.take(answer);
    answers.add(answer);
  };
  session.onChange = () => {
    for (const panel of [form, csv, motion]) panel.setBusy(session.isRunning);
    answers.ask();
    log.ask();
  };
  const sources = el(
    "div",
    { class: "side" },
    el("section", { class: "card" }, el("h2", {}, "One event"), form.element),
    el("section", { class: "card" }, el("h2", {}, "A CSV file"), csv.element),
    el("section", { class: "card" }, el("h2", {}, "Motion sensor"), motion.element),
  );
  answers.element.append(log.element);
  place.replaceChildren(
    el("p", { class: "muted takes" }, takes(model)),
    el("div", { class: "trying" }, sources, answers.element),
  );
  return () => {
    csv.stop();
    session.close();
    answers.stop();
    log.stop();
  };
}

/** @param {ModelInfo} model */
function takes({ version, inputs = [], outputs = [], window, steps }) {
  const list = (/** @type {import("./types.js").TensorInfo[]} */ tensors) =>
    tensors.map((t) => `${t.name} ${describe(t)}`).join(", ") || "nothing";
  const sliding = window ? ` Its window is ${window.length} samples long and moves by ${window.hop}.` : "";
  const chain = steps?.length ? ` An ensemble of ${steps.map(({ model }) => model).join(", ")}.` : "";
  return `Version ${version} takes ${list(inputs)} and gives ${list(outputs)}.${sliding}${chain}`;
}

/**
 * @param {TrySession} session
 * @returns {{element: HTMLElement, setBusy: (isBusy: boolean) => void, take: (answer: Answer) => void}}
 */
function buildFormPanel(session) {
  const fields = fieldsOf(session.model);
  const form = buildForm(fields);
  const send = el("button", { class: "primary" }, "Send");
  const zeros = el("button", { type: "button" }, "Zeros");
  const random = el("button", { type: "button" }, "Random values");
  const reset = el("button", { type: "button", hidden: !session.model.window }, "Empty the window");
  const status = el("p", { role: "status", class: "status" });
  const wrong = el("p", { class: "wrong", hidden: true });
  let asked = 0; // the event that the status is about
  /** @param {string} message */
  const tell = (message) => {
    wrong.hidden = !message;
    wrong.textContent = message;
  };
  const submit = async () => {
    tell("");
    const { event, samples, errors } = form.read();
    if (errors.size) return put(status, "Nothing was sent.");
    put(status, "Sending …");
    try {
      await session.send(event, samples);
      asked = session.id;
      put(status, session.flight.departures.get(asked)?.rows === 0 ? windowWords(session, event.key) : "Sent.");
    } catch (error) {
      put(status, "Nothing was sent.");
      tell(error instanceof Error ? error.message : String(error));
    }
  };
  const element = el(
    "form",
    { novalidate: true },
    form.element,
    el("div", { class: "buttons" }, send, zeros, random, reset),
    status,
    wrong,
  );
  element.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!send.disabled) submit();
  });
  element.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) element.requestSubmit();
  });
  zeros.addEventListener("click", () => form.fill(() => 0));
  random.addEventListener("click", () => form.fill(Math.random));
  reset.addEventListener("click", async () => {
    try {
      await session.reset(form.read().event.key);
      put(status, "The window is empty.");
    } catch (error) {
      tell(error instanceof Error ? error.message : String(error));
    }
  });
  return {
    element,
    setBusy(isBusy) {
      send.disabled = reset.disabled = isBusy;
    },
    take({ message, ms }) {
      if (message.id !== asked) return;
      if (!message.error) {
        const label = labelText(message.label);
        return put(status, `Answered in ${milliseconds(ms).join(" ")}${label ? `: ${label}` : ""}.`);
      }
      const named = fieldNamed(message.error.message, fields);
      if (named !== undefined) form.tell(new Map([[named, message.error.message]]));
      else tell(`${message.error.code}: ${message.error.message}`);
      put(status, "The server refused the event.");
    },
  };
}

/**
 * @param {TrySession} session
 * @param {string | undefined} key
 */
function windowWords({ flight, model }, key) {
  const { length, hop } = /** @type {{length: number, hop: number}} */ (model.window);
  const position = flight.positions.get(key) ?? 0;
  const next = position < length ? length : length + (Math.floor((position - length) / hop) + 1) * hop;
  return `Sent. The next prediction comes after ${next - position} more samples.`;
}
