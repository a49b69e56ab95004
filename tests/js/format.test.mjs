import assert from "node:assert/strict";
import { test } from "node:test";

import { age, count, duration, memory, milliseconds, number, uptime } from "../../static/js/format.js";

/** @param {(value: any) => any} format @param {[any, any][]} cases */
const table = (format, cases) => () => {
  for (const [value, text] of cases) assert.deepEqual(format(value), text, `${format.name}(${value})`);
};

test("counts", table(count, [
  [0, "0"], [7, "7"], [7.25, "7.3"], [99.94, "99.9"], [99.95, "100"], [12_345.6, "12,346"], [999_999, "999,999"],
  [999_999.6, "1.00 M"], [1_234_567, "1.23 M"], [-3, "-3"], [undefined, "–"], [null, "–"], [NaN, "–"],
]));

test("numbers", table(number, [
  [0, "0.000"], [0.97, "0.970"], [-0.5, "-0.500"], [1, "1.00"], [12.345, "12.3"], [118, "118"], [999.6, "1,000"],
  [123_456, "123,456"], [1.5e7, "1.5e+7"], [1.2e-7, "1.2e-7"], [NaN, "–"], [Infinity, "–"],
]));

test("durations in their own unit", table(milliseconds, [
  [0.0854, ["85", "µs"]], [0, ["0", "µs"]], [0.9996, ["1.00", "ms"]], [1.236, ["1.24", "ms"]], [31.25, ["31.3", "ms"]],
  [999.6, ["1.00", "s"]], [2100, ["2.10", "s"]], [NaN, ["–", "ms"]], [undefined, ["–", "ms"]],
]));

test("durations as a text", table(duration, [[1.236, "1.24 ms"], [undefined, "–"]]));

test("memory", table(memory, [[182_340_000, ["182", "MB"]], [4.2e6, ["4.20", "MB"]], [1.5e9, ["1.50", "GB"]], [NaN, ["–", "MB"]]]));

test("ages", table(age, [[-3, "now"], [0.9, "now"], [1, "1 s"], [59.9, "59 s"], [60, "1 min"], [3600, "1 h"], [200_000, "2 d"], [NaN, "–"]]));

test("uptimes", table(uptime, [[12.7, "12 s"], [200, "3 min 20 s"], [7500, "2 h 5 min"], [360_000, "4 d 4 h"]]));
