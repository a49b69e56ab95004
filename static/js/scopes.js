/** What a credential allows, read as the server reads it (docs/security.md): nothing is asked for that would be refused. */

import { EVERY_STREAM, fits, halves, matches } from "./topics.js";

const ANYTHING = "\0"; // stands for a `*` that is asked for: no granted glob has it, so only a `*` covers it
const MOST_STREAMS = 60; // patterns; the server takes 64 of one socket

/** A set of scopes. It never changes. */
export class Scopes {
  /** @param {string[]} texts */
  constructor(texts) {
    this.isAdmin = texts.includes("admin");
    this.models = granted(texts, "predict:");
    this.topics = granted(texts, "watch:");
  }

  /** @returns {boolean} whether there may be a model that events may be sent to */
  get maySend() {
    return this.isAdmin || this.models.length > 0;
  }

  /** @param {string} model */
  mayPredict(model) {
    return this.isAdmin || this.models.some((glob) => matches(glob, model));
  }

  /** @param {string} pattern  all that it fits is meant */
  mayWatch(pattern) {
    return this.isAdmin || this.topics.some((glob) => glob === "*" || fits(glob, pattern.replaceAll("*", ANYTHING)));
  }

  /** @returns {string[]} patterns of all streams that may be watched */
  get streams() {
    if (this.mayWatch(EVERY_STREAM)) return [EVERY_STREAM];
    return this.topics.filter((glob) => halves(glob)).slice(0, MOST_STREAMS);
  }
}

/**
 * @param {string[]} texts
 * @param {string} kind
 * @returns {string[]}
 */
function granted(texts, kind) {
  return texts.filter((text) => text.startsWith(kind)).map((text) => text.slice(kind.length));
}
