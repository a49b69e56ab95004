import assert from "node:assert/strict";
import { test } from "node:test";

import { Stream } from "../../static/js/store.js";
import { filtered, inView, sorted } from "../../static/js/table.js";

function stream(topic, score = NaN, label = "") {
  const made = new Stream(topic);
  return Object.assign(made, { score, label });
}

const keys = (streams) => streams.map(({ key }) => key);

test("every word of a filter must be found in the topic or the label", () => {
  const streams = [stream("activity/Watch-1", 1, "walking"), stream("activity/watch-2", 1, "running"), stream("host/this", 1)];
  assert.deepEqual(keys(filtered(streams, "")), ["Watch-1", "watch-2", "this"]);
  assert.deepEqual(keys(filtered(streams, " WATCH ")), ["Watch-1", "watch-2"]);
  assert.deepEqual(keys(filtered(streams, "watch run")), ["watch-2"]);
  assert.deepEqual(keys(filtered(streams, "host/")), ["this"]);
  assert.deepEqual(filtered(streams, "watch host"), []);
});

test("texts sort as people count", () => {
  const streams = ["m/w-10", "m/w-9", "m/w-1"].map((topic) => stream(topic));
  assert.deepEqual(keys(sorted(streams, { column: "key", descending: false }, 0)), ["w-1", "w-9", "w-10"]);
  assert.deepEqual(keys(sorted(streams, { column: "key", descending: true }, 0)), ["w-10", "w-9", "w-1"]);
});

test("numbers sort by size, unknown ones come last either way, equal ones by topic", () => {
  const streams = [stream("m/x"), stream("m/b", 2), stream("m/a", 2), stream("m/c", 10)];
  assert.deepEqual(keys(sorted(streams, { column: "score", descending: false }, 0)), ["a", "b", "c", "x"]);
  assert.deepEqual(keys(sorted(streams, { column: "score", descending: true }, 0)), ["c", "a", "b", "x"]);
});

test("ages and rates sort by what they are now", () => {
  const old = Object.assign(stream("m/old"), { ts: 10 });
  const young = Object.assign(stream("m/young"), { ts: 20 });
  assert.deepEqual(keys(sorted([old, young], { column: "age", descending: false }, 30)), ["young", "old"]);
  const busy = stream("m/busy");
  for (const [n, ts] of [[0, 20], [90, 30]]) busy.take({ topic: "m/busy", n, ts, outputs: { y: [1] } });
  assert.deepEqual(keys(sorted([old, busy], { column: "rate", descending: true }, 30)), ["busy", "old"]);
});

test("only the rows in view are shown, with some to spare", () => {
  assert.deepEqual(inView(0, 360, 36, 1000, 0), { first: 0, last: 10 });
  assert.deepEqual(inView(18, 360, 36, 1000, 0), { first: 0, last: 11 });
  assert.deepEqual(inView(3600, 360, 36, 1000, 2), { first: 98, last: 112 });
  assert.deepEqual(inView(0, 360, 36, 3), { first: 0, last: 3 });
  assert.deepEqual(inView(36 * 999, 360, 36, 10), { first: 10, last: 10 }, "scrolled beyond what a filter left");
  assert.deepEqual(inView(0, 0, 36, 0), { first: 0, last: 0 });
});
