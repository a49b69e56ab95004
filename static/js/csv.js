/** CSV (RFC 4180) read piece by piece: a file of any size takes the memory of one piece. */

const MAX_FIELD = 1 << 20;
const SEPARATORS = [",", ";", "\t"];
const SNIFFED = 1 << 16;

/** @typedef {{row: number, fields: string[]}} CsvRecord `row` counts from 1, as a spreadsheet does */

/** A fault of a file, with the row and the column that it is in, from 1. */
export class CsvError extends Error {
  /**
   * @param {string} problem
   * @param {number} row
   * @param {number} [column]
   * @param {string} [name] the column's, from the header
   */
  constructor(problem, row, column, name) {
    const place = column === undefined ? "" : `, column ${column}${name ? ` (${name})` : ""}`;
    super(`row ${row}${place}: ${problem}`);
    this.row = row;
    this.column = column;
  }
}

/**
 * Return the separator that the first line of a text has most of; a comma where it has none.
 * @param {string} text
 */
export function findSeparator(text) {
  const counts = new Map(SEPARATORS.map((separator) => [separator, 0]));
  let quotes = false;
  for (const character of text) {
    if (character === '"') quotes = !quotes;
    else if (!quotes && (character === "\n" || character === "\r")) break;
    else if (!quotes && counts.has(character)) counts.set(character, (counts.get(character) ?? 0) + 1);
  }
  return [...counts].reduce((best, next) => (next[1] > best[1] ? next : best))[0];
}

/** Turns pieces of text into records, wherever the pieces are cut. Blank lines are counted and left out. */
export class CsvParser {
  /** @param {string} separator */
  constructor(separator) {
    this.separator = separator;
    this.row = 1;
    /** @type {string[]} */
    this.fields = [];
    this.field = "";
    this.state = "start"; // of a field: start, plain, quoted, closed
    this.openedAt = 1; // row and column of the quote that is open
    this.skipNewline = false; // the last line ended with a carriage return
    this.isFirst = true;
  }

  /**
   * Return the records that `text` completes. Throws `CsvError`.
   * @param {string} text
   * @returns {CsvRecord[]}
   */
  push(text) {
    /** @type {CsvRecord[]} */
    const records = [];
    let at = this.isFirst && text.startsWith("\ufeff") ? 1 : 0;
    if (text) this.isFirst = false;
    for (; at < text.length; at += 1) {
      if (this.state === "plain" || this.state === "quoted") {
        const end = this.endOfRun(text, at);
        this.field += text.slice(at, end);
        if (this.field.length > MAX_FIELD)
          throw this.error(`a field of more than ${MAX_FIELD} characters; is a quote missing?`);
        at = end;
        if (at === text.length) break;
      }
      this.take(text[at], records);
    }
    return records;
  }

  /**
   * Return the last record, where the file does not end with a line end. Throws `CsvError`.
   * @returns {CsvRecord[]}
   */
  end() {
    if (this.state === "quoted") throw this.error("a quote is opened here and never closed");
    /** @type {CsvRecord[]} */
    const records = [];
    if (this.state !== "start" || this.fields.length) this.endRecord(records);
    return records;
  }

  /**
   * Return where the characters end that are simply part of the field.
   * @param {string} text
   * @param {number} from
   */
  endOfRun(text, from) {
    if (this.state === "quoted") {
      const end = text.indexOf('"', from);
      return end < 0 ? text.length : end;
    }
    let end = from;
    while (end < text.length && !this.isSpecial(text[end])) end += 1;
    return end;
  }

  /** @param {string} character */
  isSpecial(character) {
    return character === this.separator || character === "\n" || character === "\r" || character === '"';
  }

  /**
   * @param {string} character
   * @param {CsvRecord[]} records
   */
  take(character, records) {
    if (this.skipNewline) {
      this.skipNewline = false;
      if (character === "\n") return;
    }
    if (this.state === "quoted")
      this.state = "closed"; // or doubled: the next character tells
    else if (character === this.separator) this.endField();
    else if (character === "\n" || character === "\r") {
      this.skipNewline = character === "\r";
      this.endRecord(records);
    } else if (character === '"') this.takeQuote();
    else if (this.state === "closed")
      throw this.error(`expected a separator after the closing quote, got '${character}'`);
    else {
      this.field += character;
      this.state = "plain";
    }
  }

  takeQuote() {
    if (this.state === "plain") throw this.error("a quote inside a field that is not in quotes");
    if (this.state === "closed") this.field += '"';
    this.state = "quoted";
  }

  endField() {
    this.fields.push(this.field);
    this.field = "";
    this.state = "start";
  }

  /** @param {CsvRecord[]} records */
  endRecord(records) {
    const isBlank = this.state === "start" && !this.fields.length;
    this.endField();
    if (!isBlank) records.push({ row: this.row, fields: this.fields });
    this.fields = [];
    this.row += 1;
  }

  /** @param {string} problem */
  error(problem) {
    return new CsvError(problem, this.row, this.fields.length + 1);
  }
}

/**
 * Return the records of pieces of text, a list per piece. Throws `CsvError`.
 * @param {AsyncIterable<string>} pieces
 * @returns {AsyncGenerator<CsvRecord[]>}
 */
export async function* recordsOf(pieces) {
  let head = "";
  /** @type {CsvParser | undefined} */
  let parser;
  for await (const piece of pieces) {
    head += piece;
    if (!parser && head.length < SNIFFED && !/[\r\n]/.test(head)) continue;
    parser ??= new CsvParser(findSeparator(head));
    yield parser.push(head);
    head = "";
  }
  parser ??= new CsvParser(findSeparator(head));
  yield [...parser.push(head), ...parser.end()];
}

/**
 * Return the text of a file in pieces; rejects where it is not UTF-8, or not what was chosen any more.
 *
 * @param {Blob} file
 * @returns {AsyncGenerator<string>}
 */
export async function* textOf(file) {
  const reader = file.stream().getReader();
  const decoder = new TextDecoder("utf-8", { fatal: true });
  try {
    for (let isDone = false; !isDone;) {
      const { done, value } = await reader.read().catch((cause) => {
        throw new Error("the file has changed or gone since it was chosen: choose it again", { cause });
      });
      isDone = done;
      yield decode(decoder, value);
    }
  } finally {
    await reader.cancel().catch(() => {}); // it may have failed
  }
}

/**
 * @param {TextDecoder} decoder
 * @param {Uint8Array | undefined} bytes  undefined: that was all
 */
function decode(decoder, bytes) {
  try {
    return decoder.decode(bytes, { stream: bytes !== undefined });
  } catch (cause) {
    throw new Error("the file is not UTF-8 text: save it as “CSV UTF-8”", { cause });
  }
}
