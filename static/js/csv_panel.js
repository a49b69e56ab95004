/** Streaming a CSV file: its columns, a check of all its rows before the first is sent, and a rate. */

import { elementsOf, eventOf, isHeader, planColumns } from "./columns.js";
import { CsvError, recordsOf, textOf } from "./csv.js";
import { el, put } from "./dom.js";
import { eventInputs } from "./form.js";
import { count } from "./format.js";
import { Interrupted } from "./session.js";

/** @typedef {import("./session.js").TrySession} TrySession */
/** @typedef {import("./session.js").Item} Item */
/** @typedef {import("./types.js").TensorInfo} TensorInfo */
/** @typedef {import("./columns.js").Plan} Plan */
/** @typedef {import("./csv.js").CsvRecord} CsvRecord */

const MOST_FAULTS = 5;
const MOST_PICKS = 64; // elements whose columns can be picked one by one
const FASTEST = 100_000;

/**
 * Go through the rows of a file: all of them are read, and every fault is told, up to some number.
 *
 * @param {AsyncIterable<string>} pieces
 * @param {Plan} plan
 * @param {boolean} hasNames
 * @param {TensorInfo[]} inputs
 * @param {(rows: number) => boolean} onProgress  returns false to give up
 * @returns {Promise<{rows: number, faults: string[]}>}
 */
export async function checkRows(pieces, plan, hasNames, inputs, onProgress) {
  /** @type {string[]} */
  const faults = [];
  let rows = 0;
  try {
    for await (const records of dataOf(pieces, hasNames)) {
      for (const record of records) {
        rows += 1;
        try {
          eventOf(record, plan, inputs);
        } catch (error) {
          faults.push(messageOf(error));
          if (faults.length === MOST_FAULTS) return { rows, faults };
        }
      }
      if (!onProgress(rows)) break;
    }
  } catch (error) {
    faults.push(messageOf(error));
  }
  return { rows, faults };
}

/**
 * Return the records without the header.
 *
 * @param {AsyncIterable<string>} pieces
 * @param {boolean} hasNames
 * @returns {AsyncGenerator<CsvRecord[]>}
 */
async function* dataOf(pieces, hasNames) {
  let isFirst = hasNames;
  for await (const records of recordsOf(pieces)) {
    yield isFirst ? records.slice(1) : records;
    isFirst &&= records.length === 0;
  }
}

/**
 * @param {AsyncIterable<string>} pieces
 * @param {Plan} plan
 * @param {boolean} hasNames
 * @param {TensorInfo[]} inputs
 * @returns {AsyncGenerator<Item[]>}
 */
export async function* itemsOf(pieces, plan, hasNames, inputs) {
  for await (const records of dataOf(pieces, hasNames)) {
    yield records.map((record) => ({ row: record.row, event: eventOf(record, plan, inputs) }));
  }
}

/**
 * @param {TrySession} session
 * @returns {{element: HTMLElement, setBusy: (isBusy: boolean) => void, stop: () => void}}
 */
export function buildCsvPanel(session) {
  const inputs = eventInputs(session.model);
  const file = el("input", { type: "file", id: "csv-file", accept: ".csv,.tsv,.txt,text/csv" });
  const names = el("input", { type: "checkbox", id: "csv-names" });
  const rate = el("input", { type: "text", inputmode: "decimal", id: "csv-rate", value: 10, autocomplete: "off" });
  const asFast = el("input", { type: "checkbox", id: "csv-fast" });
  const start = el("button", { type: "button", class: "primary", disabled: true }, "Start");
  const end = el("button", { type: "button", hidden: true }, "Stop");
  const status = el("p", { role: "status", class: "status" });
  const faults = el("ul", { class: "wrong", hidden: true });
  const progress = el("progress", { max: 1, value: 0, hidden: true, "aria-label": "Rows sent" });
  const columns = el("details", { hidden: true }, el("summary", {}, "Columns"));
  const options = el(
    "div",
    { hidden: true },
    el("label", { class: "check" }, names, "The first row holds the names of the columns"),
    columns,
  );
  /** @type {Map<string, number>} */
  let chosen = new Map();
  /** @type {{plan: Plan, rows: number} | null} */
  let ready = null;
  let check = 0; // number of the check that counts
  let isBusy = false;

  const enable = () => {
    start.disabled = isBusy || !ready?.rows;
    for (const control of [file, names]) control.disabled = isBusy;
  };
  /** @param {string[]} messages */
  const tell = (messages) => {
    faults.hidden = !messages.length;
    faults.replaceChildren(...messages.map((message) => el("li", {}, message)));
  };

  /** @param {boolean} isNew  whether the file, and not what is said of its columns, has changed */
  const look = async (isNew) => {
    const mine = ++check;
    const source = file.files?.[0];
    ready = null;
    enable();
    tell([]);
    if (!source) {
      options.hidden = true;
      return put(status, "");
    }
    try {
      const first = await firstOf(source);
      if (mine !== check) return;
      if (!first) throw new Error("the file has no rows");
      if (isNew) {
        names.checked = isHeader(first.fields);
        chosen = new Map();
      }
      options.hidden = false;
      showColumns(first, null);
      const plan = planColumns(first.fields, names.checked, inputs, first.row, chosen);
      showColumns(first, plan);
      put(status, "Checking …");
      const found = await checkRows(textOf(source), plan, names.checked, inputs, (rows) => {
        if (mine === check) put(status, `Checking … ${count(rows)} rows`);
        return mine === check;
      });
      if (mine !== check) return;
      tell(found.faults);
      if (!found.faults.length) ready = { plan, rows: found.rows };
      put(status, found.faults.length ? "Nothing was sent." : readyWords(plan, found.rows));
    } catch (error) {
      if (mine !== check) return;
      tell([messageOf(error)]);
      put(status, "Nothing was sent.");
      columns.open = true;
    }
    enable();
  };

  /**
   * @param {CsvRecord} first
   * @param {Plan | null} plan
   */
  const showColumns = (first, plan) => {
    const elements = inputs.filter((input) => input.shape.every((n) => n !== null)).flatMap(elementsOf);
    columns.hidden = !elements.length || elements.length > MOST_PICKS;
    if (columns.hidden) return;
    const titles = first.fields.map((field, at) =>
      names.checked ? field.trim() || `(column ${at + 1})` : `column ${at + 1}`,
    );
    const taken = plan ? columnsTaken(plan) : chosen;
    const picks = elements.map((element, at) => {
      const empty = el("option", { value: -1 }, "–");
      const select = el(
        "select",
        { id: `csv-column-${at}` },
        empty,
        ...titles.map((title, value) => el("option", { value }, title)),
      );
      select.value = String(taken.get(element) ?? -1);
      select.addEventListener("change", () => {
        for (const [name, column] of taken) if (!chosen.has(name)) chosen.set(name, column);
        chosen.set(element, Number(select.value));
        look(false);
      });
      return el("div", { class: "pick" }, el("label", { for: select.id }, element), select);
    });
    const focused = document.activeElement?.id;
    columns.replaceChildren(el("summary", {}, "Columns"), el("div", { class: "picks" }, ...picks));
    if (focused?.startsWith("csv-column-")) document.getElementById(focused)?.focus();
  };

  const run = async () => {
    const source = file.files?.[0];
    const perSecond = asFast.checked ? Infinity : Number(rate.value.trim() || NaN);
    if (!asFast.checked && !(perSecond > 0 && perSecond <= FASTEST)) {
      tell([`rate: expected rows per second, above 0 and up to ${count(FASTEST)}, got '${rate.value}'`]);
      rate.setAttribute("aria-invalid", "true");
      return rate.focus();
    }
    rate.removeAttribute("aria-invalid");
    if (!source || !ready) return;
    tell([]);
    const { plan, rows } = ready;
    const before = { ...session.counts };
    const began = performance.now();
    const sent = () => session.counts.sent - before.sent;
    start.hidden = true;
    end.hidden = progress.hidden = false;
    end.focus();
    progress.max = rows;
    status.setAttribute("aria-live", "off"); // ten times a second is nothing to be read out
    const timer = setInterval(() => {
      progress.value = sent();
      put(status, `${count(sent())} of ${count(rows)} rows sent`);
    }, 100);
    let ending = "All rows were sent";
    try {
      await session.stream(itemsOf(textOf(source), plan, names.checked, inputs), perSecond);
    } catch (error) {
      ending = `Ended after ${count(sent())} rows: ${messageOf(error)}`;
      if (!(error instanceof Interrupted)) tell([messageOf(error)]);
    }
    clearInterval(timer);
    status.removeAttribute("aria-live");
    const { predictions, errors } = session.counts;
    const made = `${count(predictions - before.predictions)} predictions, ${count(errors - before.errors)} errors`;
    put(status, `${ending}: ${made} in ${((performance.now() - began) / 1000).toFixed(1)} s.`);
    const hadFocus = document.activeElement === end;
    end.hidden = progress.hidden = true;
    start.hidden = false;
    if (hadFocus) start.focus();
  };

  file.addEventListener("click", () => (file.value = "")); // so that a file that was mended can be chosen again
  file.addEventListener("cancel", () => look(true));
  file.addEventListener("change", () => look(true));
  names.addEventListener("change", () => {
    chosen = new Map();
    look(false);
  });
  asFast.addEventListener("change", () => (rate.disabled = asFast.checked));
  start.addEventListener("click", run);
  end.addEventListener("click", () => session.stop());
  const hint = el("p", { class: "hint" }, hintOf(inputs, session.model.window !== undefined));
  const speed = el(
    "div",
    { class: "speed" },
    el("label", { for: "csv-rate" }, "Rows per second"),
    rate,
    el("label", { class: "check" }, asFast, "as fast as it is answered"),
  );
  const label = el("label", { for: "csv-file" }, "File");
  const element = el(
    "div",
    { class: "fields" },
    hint,
    el("div", { class: "field" }, label, file),
    options,
    speed,
    el("div", { class: "buttons" }, start, end),
    progress,
    status,
    faults,
  );
  return {
    element,
    setBusy(now) {
      if (now === isBusy) return;
      isBusy = now;
      enable();
    },
    stop: () => (check += 1),
  };
}

/**
 * @param {File} source
 * @returns {Promise<CsvRecord | undefined>}
 */
async function firstOf(source) {
  for await (const [first] of recordsOf(textOf(source))) if (first) return first;
  return undefined;
}

/** @param {Plan} plan */
function columnsTaken({ sources }) {
  const pairs = sources.filter(({ isWhole, columns }) => !isWhole || columns.length === 1);
  return new Map(
    pairs.flatMap(({ input, columns }) =>
      elementsOf(input).map((name, at) => /** @type {[string, number]} */ ([name, columns[at] ?? -1])),
    ),
  );
}

/**
 * @param {Plan} plan
 * @param {number} rows
 */
function readyWords(plan, rows) {
  const ignored = plan.ignored.length
    ? ` Not used: ${plan.ignored.map((name) => name || "(no name)").join(", ")}.`
    : "";
  const keys = plan.key >= 0 ? " Each key is a stream of its own." : "";
  return `${count(rows)} rows are ready to be sent.${keys}${ignored}`;
}

/**
 * @param {TensorInfo[]} inputs
 * @param {boolean} isWindowed
 */
function hintOf(inputs, isWindowed) {
  const what = inputs.map((input) => {
    const elements = elementsOf(input);
    return elements.length > 1 ? `${elements[0]} … ${elements[elements.length - 1]}` : input.name;
  });
  const unit = isWindowed ? "sample" : "event";
  return `One ${unit} per row, columns ${what.join(", ")}: by these names, or in this order. A column “key” makes streams of its own.`;
}

/** @param {unknown} error */
function messageOf(error) {
  return error instanceof CsvError || error instanceof Error ? error.message : String(error);
}
