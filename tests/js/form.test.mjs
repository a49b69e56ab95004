import assert from "node:assert/strict";
import { test } from "node:test";

import { eventInputs, example, fieldNamed, fieldsOf, readForm } from "../../static/js/form.js";

const input = (name, dtype, shape, more = {}) => ({ name, dtype, shape, ...more });
const WINDOWED = { inputs: [input("samples", "float32", [4, 2])], window: { length: 4, hop: 2 } };
const PAIR = { inputs: [input("mask", "bool", [2]), input("count", "int64", [])] };
const OPTIONAL = { inputs: [input("x", "float32", [2]), input("b", "bool", [], { optional: true })] };

test("a field is made for each input, of a kind that fits it", () => {
  const kinds = (model) => fieldsOf(model).map(({ name, kind }) => [name, kind]);
  assert.deepEqual(kinds(PAIR), [
    ["mask", "list"],
    ["count", "one"],
  ]);
  assert.deepEqual(kinds(OPTIONAL), [
    ["x", "list"],
    ["b", "choice"],
  ]);
  assert.deepEqual(kinds(WINDOWED), [["samples", "samples"]]);
  assert.deepEqual(kinds({ inputs: [] }), []);
});

test("hints tell size, type, and what is open or optional", () => {
  const hint = (...spec) => fieldsOf({ inputs: [input("x", ...spec)] })[0].hint;
  assert.equal(hint("float32", []), "One float32");
  assert.equal(hint("float32", [2, 3]), "float32[2, 3]: 6 numbers");
  assert.equal(hint("string", [1]), "string[1]: 1 text, one per line");
  assert.equal(hint("int8", [null, 2]), "int8[?, 2]; ? is as long as you like");
  assert.equal(hint("bool", [], { optional: true }), "One bool. Optional: empty leaves it out");
  assert.match(fieldsOf(WINDOWED)[0].hint, /Samples of 2 numbers.*after 4 of them, then one after every 2 samples/);
});

test("an event of a windowed model is one of its samples", () => {
  assert.deepEqual(eventInputs(WINDOWED)[0].shape, [2]);
  assert.deepEqual(eventInputs(PAIR), PAIR.inputs);
});

for (const [name, model, texts, data, samples = 1] of [
  ["the only input goes without its name", { inputs: [input("x", "float32", [2])] }, { x: "1 2" }, [1, 2]],
  ["several go with theirs", PAIR, { mask: "1 0", count: "-5" }, { mask: [true, false], count: -5n }],
  ["what is optional may be left out", OPTIONAL, { x: "1 2", b: "" }, { x: [1, 2] }],
  ["or be given", OPTIONAL, { x: "1 2", b: "true" }, { x: [1, 2], b: true }],
  ["an only input that is left out", { inputs: [input("x", "float32", [2], { optional: true })] }, { x: "" }, {}],
  ["no inputs", { inputs: [] }, {}, {}],
  ["samples are counted", WINDOWED, { samples: "1 2\n3 4\n5 6" }, [1, 2, 3, 4, 5, 6], 3],
]) {
  test(`reads events: ${name}`, () => {
    const reading = readForm(fieldsOf(model), texts);
    assert.deepEqual(reading, { event: { data }, samples, errors: new Map() });
  });
}

test("all that is wrong is told, each at its field", () => {
  const { errors } = readForm(
    fieldsOf(PAIR),
    { mask: "1", count: "x" },
    { key: "k".repeat(257), timeout_ms: "0", priority: "256" },
  );
  assert.deepEqual(Object.fromEntries(errors), {
    "data.mask": "expected 2 booleans, got 1",
    "data.count": "expected an integer, got 'x'",
    key: "expected at most 256 characters, got 257",
    timeout_ms: "expected a number above 0, got '0'",
    priority: "'256' does not fit uint8",
  });
});

test("key, deadline and priority go along where they are given", () => {
  const { event } = readForm(fieldsOf({ inputs: [] }), {}, { key: "k", timeout_ms: "2.5", priority: "0" });
  assert.deepEqual(event, { data: {}, key: "k", timeout_ms: 2.5, priority: 0n });
  assert.deepEqual(readForm(fieldsOf({ inputs: [] }), {}, { key: "", timeout_ms: " ", priority: "" }).event, {
    data: {},
  });
});

test("finds the field that the server names", () => {
  const fields = fieldsOf({ inputs: [input("a", "float32", [1]), input("a.b", "float32", [1])] });
  assert.equal(fieldNamed("data.a.b: expected 1 number", fields), "data.a.b");
  assert.equal(fieldNamed("data.a: expected 1 number", fields), "data.a");
  assert.equal(fieldNamed("data: expected a map", fields), undefined);
  assert.equal(fieldNamed("data: expected 2 numbers", fieldsOf(WINDOWED)), "data.samples");
  assert.equal(fieldNamed("data[0]: expected 2 numbers", fieldsOf(WINDOWED)), "data.samples");
  assert.equal(fieldNamed("priority: expected 1 to 3", fields), "priority");
  assert.equal(fieldNamed("the model's queue is full", fields), undefined);
});

test("made-up values fit every input that there may be", () => {
  let seed = 1;
  const draw = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
  const dtypes = ["float32", "float16", "int64", "uint8", "bool", "string"];
  const shapes = [[], [1], [3], [2, 3], [0], [null], [null, 2], [null, null], [2, 0]];
  for (const make of [draw, () => 0]) {
    for (const dtype of dtypes) {
      for (const shape of shapes) {
        const fields = fieldsOf({ inputs: [input("x", dtype, shape)] });
        const { errors } = readForm(fields, { x: example(fields[0], make) });
        assert.deepEqual([...errors], [], `${dtype} ${JSON.stringify(shape)}`);
      }
    }
    const fields = fieldsOf(WINDOWED);
    assert.equal(readForm(fields, { samples: example(fields[0], make) }).samples, 4);
  }
});

test("an input may be called as something else of an event is", () => {
  const model = { inputs: [input("key", "int8", []), input("priority", "int8", [])] };
  const { event, errors } = readForm(fieldsOf(model), { key: "x", priority: "2" }, { key: "k", priority: "3" });
  assert.deepEqual([event.key, event.priority, event.data.priority], ["k", 3n, 2n]);
  assert.deepEqual([...errors], [["data.key", "expected an integer, got 'x'"]]);
});
