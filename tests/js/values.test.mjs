import assert from "node:assert/strict";
import { test } from "node:test";

import { elementNames, flat, labelText, meanBatch, picture, score, summary, waterfall } from "../../static/js/values.js";

test("a tensor's numbers are found at any depth, and nothing else is taken for one", () => {
  assert.deepEqual(flat(7), [7]);
  assert.deepEqual(flat([[1, 2], [3, null]]), [1, 2, 3, NaN]);
  assert.deepEqual(flat([true, false]), [1, 0]);
  assert.deepEqual(flat(["a", "b"]), []);
  assert.deepEqual(flat([1, { shape: [1] }]), []);
  assert.deepEqual(flat(undefined), []);
  assert.equal(flat(Array(10_000).fill(1)).length, 4096);
});

test("a label is a text, of several outputs one after the other", () => {
  assert.equal(labelText("walking"), "walking");
  assert.equal(labelText({ kind: "bird", mood: "angry" }), "bird, angry");
  assert.equal(labelText(undefined), "");
});

test("the score is the best of the classes, or the first number", () => {
  const outputs = { hidden: [9], scores: [0.1, 0.7, 0.2] };
  const info = { name: "m", version: "1", state: "ready", labels: { scores: ["a", "b", "c"] } };
  assert.equal(score({ topic: "m/k", n: 1, ts: 0, label: "b", outputs }, info), 0.7);
  assert.equal(score({ topic: "m/k", n: 1, ts: 0, outputs: { y: [[3, 4]] } }), 3);
  assert.ok(Number.isNaN(score({ topic: "m/k", n: 1, ts: 0, outputs: { text: ["no"] } })));
  assert.ok(Number.isNaN(score({ topic: "m/k", n: 1, ts: 0 })));
});

test("the spans of a waterfall follow each other and add up to the total", () => {
  const spans = waterfall({ queue: 85, run: 120, total: 310, batch: 32 });
  assert.deepEqual(spans.map(({ start, length }) => [start, length]), [[0, 85], [85, 120], [205, 105]]);
  const rounded = waterfall({ queue: 85, run: 120, total: 204, batch: 1 }); // each was rounded on its own
  assert.deepEqual(rounded.map(({ length }) => length), [85, 120, 0]);
});

test("few numbers become a strip, many or a window stand as they are", () => {
  assert.deepEqual(picture([1, 2, 3]), { kind: "strip", lines: [[1], [2], [3]] });
  assert.deepEqual(picture(5), { kind: "strip", lines: [[5]] });
  const long = Array.from({ length: 64 }, (_, index) => index);
  assert.deepEqual(picture(long), { kind: "profile", lines: [long] });
  const window = { kind: "profile", lines: [[1, 3, 5], [2, 4, 6]] };
  assert.deepEqual(picture([[1, 2], [3, 4], [5, 6]]), window);
  assert.deepEqual(picture([1, 2, 3, 4, 5, 6], [3, 2]), window, "flat, with the model's shape");
  assert.deepEqual(picture([1, 2, 3, 4, 5, 6], [null, 2]), window);
  assert.deepEqual(picture([[1, 2, 3]]), { kind: "strip", lines: [[1], [2], [3]] });
  assert.equal(picture([Array(12).fill(0), Array(12).fill(1)]).lines.length, 8, "no more lines than colours");
  assert.equal(picture(["a"]), null);
  assert.equal(picture([]), null);
});

test("elements are called by the model's labels where they fit", () => {
  assert.deepEqual(elementNames("scores", 2, ["no", "yes"]), ["no", "yes"]);
  assert.deepEqual(elementNames("scores", 2, ["no"]), ["scores[0]", "scores[1]"]);
  assert.deepEqual(elementNames("y", 1), ["y"]);
});

test("the mean batch is rows over batches, within what the bounds allow", () => {
  assert.equal(meanBatch({ 1: 2, 2: 0, 4: 2, "+Inf": 0 }, 8), 2);
  assert.equal(meanBatch({ 1: 10, 2: 0, "+Inf": 0 }, 500), 1);
  assert.equal(meanBatch({ 1: 0, 2: 0, 4: 3, "+Inf": 0 }, 1), 3);
  assert.equal(meanBatch({ 1: 0, 8: 0, "+Inf": 2 }, 40), 20);
  assert.ok(Number.isNaN(meanBatch({ 1: 0, "+Inf": 0 }, 0)));
});

test("the overview adds queues up and shows the slowest model", () => {
  const model = (name, queue_depth, p99) => ({ name, queue_depth, batch_rows: { 1: 5 }, total_ms: p99 && { p50: p99 / 2, p90: 0, p99 } });
  const stats = { predictions_per_second: 2, sockets: 3, memory_bytes: 4, loop_lag_ms: 5 };
  const numbers = summary({ ...stats, models: [model("a", 1, 2), model("b", 2, 8), model("c", 4, null)] });
  assert.deepEqual([numbers.queue, numbers.p50, numbers.p99, numbers.slowest, numbers.batch], [7, 4, 8, "b", 1]);
  const idle = summary({ ...stats, models: [] });
  assert.ok(Number.isNaN(idle.p99) && Number.isNaN(idle.batch));
  assert.equal(idle.slowest, "");
});
