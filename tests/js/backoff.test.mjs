import assert from "node:assert/strict";
import { test } from "node:test";

import { FIRST_MS, LONGEST_MS, backoff } from "../../static/js/backoff.js";

test("the longest wait doubles with each attempt up to a bound", () => {
  const longest = [0, 1, 2, 3].map((attempt) => backoff(attempt, () => 1));
  assert.deepEqual(longest, [FIRST_MS, 2 * FIRST_MS, 4 * FIRST_MS, 8 * FIRST_MS]);
  assert.equal(backoff(40, () => 1), LONGEST_MS);
  assert.equal(backoff(5000, () => 1), LONGEST_MS);
});

test("jitter is full: the wait is anywhere from nothing to the longest", () => {
  assert.equal(backoff(3, () => 0), 0);
  assert.equal(backoff(3, () => 0.25), 2 * FIRST_MS);
  const waits = Array.from({ length: 200 }, () => backoff(2));
  assert.ok(waits.every((wait) => wait >= 0 && wait < 4 * FIRST_MS));
  assert.ok(Math.min(...waits) < FIRST_MS && Math.max(...waits) > 3 * FIRST_MS);
});
