import assert from "node:assert/strict";
import { test } from "node:test";

import { arranged } from "../../static/js/sockets.js";

const SESSIONS = [
  { session: "1-9", kind: "stream", identity: "gateway-7", address: "10.0.0.9", seconds: 5, events: 3, keys: 2 },
  { session: "1-10", kind: "watch", identity: "ops", address: "10.0.0.10", seconds: 50, topics: ["$stats", "host/*"], process: "edge" },
  { session: "1-11", kind: "stream", identity: null, address: "10.0.0.9", seconds: 1 },
];

function names(filter, column = "session", descending = false) {
  return arranged(SESSIONS, filter, { column, descending }).map(({ session }) => session);
}

test("words are found in whatever is told of a socket", () => {
  assert.deepEqual(names("STREAM 10.0.0.9"), ["1-9", "1-11"]);
  assert.deepEqual(names("host/"), ["1-10"]);
  assert.deepEqual(names("not told"), ["1-11"]);
  assert.deepEqual(names("edge"), ["1-10"]);
  assert.deepEqual(names("gateway watch"), []);
});

test("sockets are sorted by any column, with what is left out as nothing", () => {
  assert.deepEqual(names("", "session"), ["1-9", "1-10", "1-11"]);
  assert.deepEqual(names("", "seconds", true), ["1-10", "1-9", "1-11"]);
  assert.deepEqual(names("", "events"), ["1-10", "1-11", "1-9"]);
  assert.deepEqual(names("", "identity"), ["1-11", "1-9", "1-10"]);
  assert.deepEqual(names("", "topics", true), ["1-10", "1-9", "1-11"]);
  assert.deepEqual(names("", "process", true), ["1-10", "1-9", "1-11"]);
});
