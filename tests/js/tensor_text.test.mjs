import assert from "node:assert/strict";
import { test } from "node:test";

import { describe, parseElement, parseSamples, parseTensor, toJson } from "../../static/js/tensor_text.js";

const spec = (dtype, ...shape) => ({ name: "x", dtype, shape });

for (const [text, dtype, element] of [
  [" 1.5 ", "float32", 1.5],
  ["-1e-3", "float64", -0.001],
  [".5", "float16", 0.5],
  ["+7", "int8", 7n],
  ["-128", "int8", -128n],
  ["255", "uint8", 255n],
  ["18446744073709551615", "uint64", 2n ** 64n - 1n],
  ["TRUE", "bool", true],
  ["0", "bool", false],
  [" as it is ", "string", " as it is "],
  ["3.4028234663852886e38", "float32", 3.4028234663852886e38],
]) {
  test(`${dtype} takes '${text}'`, () => assert.equal(parseElement(text, dtype), element));
}

for (const [text, dtype, message] of [
  ["", "float32", "expected a number, got nothing"],
  ["1x", "float32", "expected a number, got '1x'"],
  ["0x10", "float32", "expected a number, got '0x10'"],
  ["inf", "float32", "expected a number, got 'inf': JSON has none of these"],
  ["1e39", "float32", "'1e39' does not fit float32"],
  ["65520", "float16", "'65520' does not fit float16"],
  ["1e400", "float64", "'1e400' does not fit float64"],
  ["1.0", "int64", "expected an integer, got '1.0'"],
  ["-1", "uint8", "'-1' does not fit uint8"],
  ["9223372036854775808", "int64", "'9223372036854775808' does not fit int64"],
  ["yes", "bool", "expected true or false, got 'yes'"],
  ["x".repeat(50), "int8", `expected an integer, got '${"x".repeat(40)}…'`],
]) {
  test(`${dtype} refuses '${text}'`, () => assert.throws(() => parseElement(text, dtype), { message }));
}

for (const [name, text, type, tensor] of [
  ["a number", "2", spec("float32"), 2],
  ["a list with commas", "1, 2,3", spec("float32", 3), [1, 2, 3]],
  ["a list with spaces and lines", "1 2\n3\t4", spec("float32", 2, 2), [1, 2, 3, 4]],
  ["a list in brackets", "[1, 2]", spec("int8", 2), [1n, 2n]],
  [
    "nested lists",
    "[[1, 2], [3, 4]]",
    spec("float32", 2, 2),
    [
      [1, 2],
      [3, 4],
    ],
  ],
  [
    "nested lists without the outermost brackets",
    "[1, 2], [3, 4]",
    spec("float32", 2, 2),
    [
      [1, 2],
      [3, 4],
    ],
  ],
  ["a nested list of one", "[[1, 2]]", spec("float32", 1, 2), [[1, 2]]],
  ["texts, one per line", "Ada\n King, Countess \n", spec("string", 2), ["Ada", " King, Countess "]],
  ["texts in quotes", '["a, b", "c\\n"]', spec("string", 2), ["a, b", "c\n"]],
  ["booleans", "true 0", spec("bool", 2), [true, false]],
  ["an open end", "1 2 3", spec("float32", null), [1, 2, 3]],
  ["an open dimension of a flat list", "1 2 3 4", spec("float32", null, 2), { shape: [2, 2], data: [1, 2, 3, 4] }],
  ["open dimensions", "[[1], [2]]", spec("float32", null, null), [[1], [2]]],
  ["nothing, where that is the size", "", spec("float32", 0), []],
  ["no texts", "", spec("string", null), []],
]) {
  test(`reads ${name}`, () => assert.deepEqual(parseTensor(text, type), tensor));
}

for (const [name, text, type, message] of [
  ["too few", "1, 2", spec("float32", 3), "expected 3 numbers, got 2"],
  ["too many", "1, 2", spec("float32", 1), "expected 1 number, got 2"],
  ["a wrong element", "1, two, 3", spec("float32", 3), "element 1: expected a number, got 'two'"],
  ["a text for a number", '1, "2"', spec("float32", 2), "element 1: expected a number, got '\"2\"'"],
  ["a bare word for a text", "[a]", spec("string", 1), "element 0: expected a text in double quotes, got 'a'"],
  ["a bad escape", '["\\x"]', spec("string", 1), "element 0: expected a text in double quotes, got '\"\\x\"'"],
  [
    "ragged lists",
    "[[1, 2], [3]]",
    spec("float32", 2, 2),
    "lists of different lengths: item 1 has shape [1], item 0 shape [2]",
  ],
  [
    "mixed depths",
    "[[1], 2]",
    spec("float32", 2, 1),
    "lists of different lengths: item 1 has a single element, item 0 shape [1]",
  ],
  ["another shape", "[[1, 2]]", spec("float32", 2, 1), "expected float32[2, 1], got shape [1, 2]"],
  ["an open bracket", "[1, 2", spec("float32", 2), "a '[' without its ']'"],
  ["a lonely bracket", "1, 2]", spec("float32", 2), "a ']' without its '['"],
  ["an open quote", '["a', spec("string", 1), "expected a list, got '\"a'"],
  [
    "a flat list for two open dimensions",
    "1 2",
    spec("float32", null, null),
    "expected nested lists for float32[?, ?], such as [[1, 2], [3, 4]]",
  ],
  ["a part of an open dimension", "1 2 3", spec("float32", null, 2), "expected a multiple of 2 elements, got 3"],
]) {
  test(`tells of ${name}`, () => assert.throws(() => parseTensor(text, type), { message }));
}

test("reads samples, flat and nested, and counts them", () => {
  const sample = spec("float32", 2);
  assert.deepEqual(parseSamples("1, 2", sample), { data: [1, 2], count: 1 });
  assert.deepEqual(parseSamples("1, 2\n3, 4", sample), { data: [1, 2, 3, 4], count: 2 });
  assert.deepEqual(parseSamples("[[1, 2], [3, 4], [5, 6]]", sample), {
    data: [
      [1, 2],
      [3, 4],
      [5, 6],
    ],
    count: 3,
  });
  assert.deepEqual(parseSamples("1 2 3", spec("int8")), { data: [1n, 2n, 3n], count: 3 });
  assert.throws(() => parseSamples("1 2 3", sample), { message: "expected 2 numbers per sample, got 3" });
  assert.throws(() => parseSamples("", sample), { message: "expected 2 numbers per sample, got 0" });
  assert.throws(() => parseSamples("[[1], [2]]", sample), { message: "expected samples of shape [2], got [2, 1]" });
});

test("writes JSON, integers of any size and the zero below zero included", () => {
  const message = { id: 7, data: { a: [2n ** 63n - 1n, [true]], b: -0, c: 'q"' }, key: undefined, none: null };
  assert.equal(toJson(message), '{"id":7,"data":{"a":[9223372036854775807,[true]],"b":-0.0,"c":"q\\""},"none":null}');
});

test("describes what is dynamic with a question mark", () => {
  assert.equal(describe(spec("float32", null, 2)), "float32[?, 2]");
});
