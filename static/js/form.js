/** A form made from what a model takes, and the event that its fields make. */

import { el } from "./dom.js";
import {
  countOf,
  describe,
  kindOf,
  parseElement,
  parseSamples,
  parseTensor,
  sizeOf,
  TextError,
} from "./tensor_text.js";

/** @typedef {import("./types.js").ModelInfo} ModelInfo */
/** @typedef {import("./types.js").TensorInfo} TensorInfo */

/**
 * choice: true or false; one: a single value; list: a tensor; samples: any number of a window's samples.
 *
 * @typedef {"choice" | "one" | "list" | "samples"} FieldKind
 * @typedef {{name: string, spec: TensorInfo, kind: FieldKind, hint: string, rows: number}} Field
 *
 * `spec` is what the field's text must fit: of a model with a window one sample. `rows`: samples that make a row.
 */

/** @typedef {{data: unknown, key?: string, timeout_ms?: unknown, priority?: unknown}} Event */
/** @typedef {{event: Event, samples: number, errors: Map<string, string>}} Reading  errors by path: data.x, key */

const EXTRAS = ["key", "timeout_ms", "priority"];
const MAX_KEY = 256;
const OPEN_SIZE = 3; // of dynamic dimensions in made-up values

/**
 * Return what one event of a model is made of: of a model with a window, one sample of it.
 *
 * @param {ModelInfo} model
 * @returns {TensorInfo[]}
 */
export function eventInputs(model) {
  const inputs = model.inputs ?? [];
  return model.window ? inputs.map((input) => ({ ...input, shape: input.shape.slice(1) })) : inputs;
}

/**
 * @param {ModelInfo} model
 * @returns {Field[]}
 */
export function fieldsOf(model) {
  return eventInputs(model).map((spec) => {
    const { name, shape } = spec;
    if (model.window)
      return { name, spec, kind: "samples", hint: samplesHint(spec, model.window), rows: model.window.length };
    const kind = shape.length ? "list" : spec.dtype === "bool" ? "choice" : "one";
    return { name, spec, kind, hint: hintOf(spec), rows: 1 };
  });
}

/**
 * Read the texts of a form. What is wrong is told by field; the event is then not to be sent.
 *
 * @param {Field[]} fields
 * @param {Record<string, string>} texts  by name of the field, and of what else an event has
 * @param {Record<string, string>} [extras]
 * @returns {Reading}
 */
export function readForm(fields, texts, extras = {}) {
  /** @type {Map<string, string>} */
  const errors = new Map();
  const data = /** @type {Record<string, unknown>} */ ({});
  let samples = 1;
  for (const field of fields) {
    const text = texts[field.name] ?? "";
    if (field.spec.optional && !text.trim()) continue;
    try {
      if (field.kind === "samples") {
        const read = parseSamples(text, field.spec);
        data[field.name] = read.data;
        samples = read.count;
      } else data[field.name] = parseTensor(text, field.spec);
    } catch (error) {
      if (!(error instanceof TextError)) throw error;
      errors.set(pathOf(field), error.message);
    }
  }
  const isBare = fields.length === 1 && Object.hasOwn(data, fields[0].name);
  /** @type {Event} */
  const event = { data: isBare ? data[fields[0].name] : data };
  readExtras(event, extras, errors);
  return { event, samples, errors };
}

/**
 * Return the path of the field that an error of the server's names.
 *
 * @param {string} message
 * @param {Field[]} fields
 * @returns {string | undefined}
 */
export function fieldNamed(message, fields) {
  const begins = (/** @type {string} */ path) => message.startsWith(path) && /^[:.[]/.test(message.slice(path.length));
  const extra = EXTRAS.find((name) => begins(name));
  if (extra) return extra;
  const named = fields.filter((field) => begins(pathOf(field))).sort((a, b) => b.name.length - a.name.length);
  const field = named[0] ?? (fields.length === 1 && begins("data") ? fields[0] : undefined);
  return field && pathOf(field);
}

/**
 * Return how the server calls an input: an input may be called `key` as well.
 *
 * @param {Field} field
 */
function pathOf({ name }) {
  return `data.${name}`;
}

/**
 * Make up a text for a field.
 *
 * @param {Field} field
 * @param {() => number} draw  uniform in [0, 1)
 * @returns {string}
 */
export function example({ spec, kind, rows }, draw) {
  const element = () => {
    const words = {
      float: draw().toFixed(3),
      int: String(Math.round(draw())),
      bool: String(draw() >= 0.5),
      string: "text",
    };
    return words[kindOf(spec.dtype)];
  };
  const shape = spec.shape.map((n) => n ?? OPEN_SIZE);
  if (!shape.length && kind !== "samples") return element();
  if (spec.shape.filter((n) => n === null).length > 1) return nestedText(shape, element, spec.dtype === "string");
  const width = kind === "samples" ? sizeOf(shape) : shape[shape.length - 1];
  const lines = kind === "samples" ? rows : width ? sizeOf(shape) / width : 0;
  const line = () => Array.from({ length: width }, element).join(spec.dtype === "string" ? "\n" : ", ");
  return Array.from({ length: lines }, line).join("\n");
}

/**
 * @param {number[]} shape
 * @param {() => string} element
 * @param {boolean} isText
 * @returns {string}
 */
function nestedText([n, ...rest], element, isText) {
  const one = () => (rest.length ? nestedText(rest, element, isText) : isText ? JSON.stringify(element()) : element());
  return `[${Array.from({ length: n }, one).join(", ")}]`;
}

/**
 * @param {Event} event
 * @param {Record<string, string>} extras
 * @param {Map<string, string>} errors
 */
function readExtras(event, { key = "", timeout_ms = "", priority = "" }, errors) {
  if (key) event.key = key;
  if (key.length > MAX_KEY) errors.set("key", `expected at most ${MAX_KEY} characters, got ${key.length}`);
  const numbers = /** @type {const} */ ([
    ["timeout_ms", timeout_ms, "float64", 0],
    ["priority", priority, "uint8", -1],
  ]);
  for (const [name, text, dtype, above] of numbers) {
    if (!text.trim()) continue;
    try {
      const value = /** @type {number | bigint} */ (parseElement(text, dtype));
      if (value <= above) throw new TextError(`expected a number above ${above}, got '${text.trim()}'`);
      event[name] = value;
    } catch (error) {
      errors.set(name, error instanceof Error ? error.message : String(error));
    }
  }
}

/** @param {TensorInfo} spec */
function hintOf(spec) {
  const size = sizeOf(spec.shape);
  const what =
    spec.shape.length === 0
      ? `One ${spec.dtype}`
      : `${describe(spec)}${size >= 0 ? `: ${countOf(size, spec.dtype)}` : ""}`;
  const open = spec.shape.includes(null) ? "; ? is as long as you like" : "";
  const how = spec.dtype === "string" && spec.shape.length ? ", one per line" : "";
  return `${what}${how}${open}${spec.optional ? ". Optional: empty leaves it out" : ""}`;
}

/**
 * @param {TensorInfo} spec
 * @param {{length: number, hop: number}} window
 */
function samplesHint(spec, { length, hop }) {
  const each = countOf(sizeOf(spec.shape), spec.dtype);
  const then = hop === 1 ? "each sample" : `every ${hop} samples`;
  return `Samples of ${each}. The first prediction comes after ${length} of them, then one after ${then}.`;
}

/**
 * @typedef {object} Form
 * @property {HTMLElement} element
 * @property {() => Reading} read  shows what is wrong at its field
 * @property {(errors: Map<string, string>) => void} tell
 * @property {(draw: () => number) => void} fill
 */

/**
 * Build the fields of a model's form.
 *
 * @param {Field[]} fields
 * @returns {Form}
 */
export function buildForm(fields) {
  /** @type {Map<string, {input: HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement, error: HTMLElement}>} */
  const controls = new Map();
  /**
   * @param {string} path
   * @param {HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement} input
   * @param {string} hint
   * @param {string} id
   */
  const control = (path, input, hint, id) => {
    const error = el("p", { id: `${id}-error`, class: "wrong", hidden: true });
    input.id = id;
    input.setAttribute("aria-describedby", `${id}-hint ${id}-error`);
    controls.set(path, { input, error });
    return el(
      "div",
      { class: "field" },
      el("label", { for: id }, nameOf(path)),
      input,
      el("p", { id: `${id}-hint`, class: "hint" }, hint),
      error,
    );
  };
  const inputs = fields.map((field, at) => control(pathOf(field), inputFor(field), field.hint, `input-${at}`));
  const text = (/** @type {string} */ mode) => el("input", { type: "text", inputmode: mode, autocomplete: "off" });
  const extras = el(
    "details",
    {},
    el("summary", {}, "Key, deadline and priority"),
    control("key", text("text"), "The sub-stream that the event belongs to", "extra-key"),
    control("timeout_ms", text("decimal"), "Milliseconds; after these the event is not run any more", "extra-timeout"),
    control("priority", text("numeric"), "1 is the highest; for models with priority levels", "extra-priority"),
  );
  /** @param {string[]} paths */
  const texts = (paths) =>
    Object.fromEntries(paths.map((path) => [nameOf(path), controls.get(path)?.input.value ?? ""]));
  /** @param {Map<string, string>} errors */
  const tell = (errors) => {
    for (const [path, { input, error }] of controls) {
      const message = errors.get(path);
      error.hidden = message === undefined;
      error.textContent = message === undefined ? "" : `${nameOf(path)}: ${message}`;
      input.setAttribute("aria-invalid", String(message !== undefined));
    }
    if (EXTRAS.some((path) => errors.has(path))) extras.open = true;
    for (const [path, { input }] of controls) if (errors.has(path)) return input.focus();
  };
  return {
    element: el("div", { class: "fields" }, ...inputs, extras),
    tell,
    read() {
      const reading = readForm(fields, texts(fields.map(pathOf)), texts(EXTRAS));
      tell(reading.errors);
      return reading;
    },
    fill(draw) {
      for (const field of fields) {
        const found = controls.get(pathOf(field));
        if (found && !field.spec.optional) found.input.value = example(field, draw);
      }
      tell(new Map());
    },
  };
}

/** @param {string} path */
function nameOf(path) {
  return path.replace(/^data\./, "");
}

/** @param {Field} field */
function inputFor({ kind, spec }) {
  if (kind === "choice") {
    const options = [...(spec.optional ? [["", "left out"]] : []), ["true", "true"], ["false", "false"]];
    return el("select", {}, ...options.map(([value, text]) => el("option", { value }, text)));
  }
  if (kind === "one") {
    const mode = { float: "decimal", int: "numeric", bool: "text", string: "text" }[kindOf(spec.dtype)];
    return el("input", { type: "text", inputmode: mode, autocomplete: "off", spellcheck: "false" });
  }
  return el("textarea", { rows: kind === "samples" ? 6 : 3, autocomplete: "off", spellcheck: "false" });
}
