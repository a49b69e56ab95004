import assert from "node:assert/strict";
import { test } from "node:test";

import { Scopes } from "../../static/js/scopes.js";
import { fits, matches } from "../../static/js/topics.js";

test("a star stands for any run of characters, and nothing else is special", () => {
  for (const [glob, text, found] of [
    ["*", "", true],
    ["a*c", "ac", true],
    ["a*c", "abbc", true],
    ["a*a", "a", false],
    ["*b*b*", "ab", false],
    ["*b*b*", "abb", true],
    ["a*bc*c", "abc", false],
    ["a.c", "abc", false],
    ["a", "a", true],
    ["", "a", false],
  ]) {
    assert.equal(matches(glob, text), found, `${glob} ${text}`);
  }
});

test("a star before the slash does not reach behind it", () => {
  assert.ok(fits("*/*", "m/a/b"));
  assert.ok(fits("m*/a/*", "m2/a/b"));
  assert.ok(!fits("*b", "m/b"));
  assert.ok(!fits("m/b", "m2/b"));
  assert.ok(!fits("*/*", "$stats"));
  assert.ok(fits("$stats", "$stats"));
});

test("a pattern is allowed where all that it fits is", () => {
  const scopes = new Scopes(["watch:activity/*", "watch:*/sensor-*", "watch:$alerts"]);
  for (const allowed of ["activity/*", "activity/a-*", "activity/x", "host/sensor-1", "*/sensor-*", "*/sensor-7", "$alerts"]) {
    assert.ok(scopes.mayWatch(allowed), allowed);
  }
  for (const refused of ["*/*", "*/a", "act*/x", "host/*", "host/sensor", "$stats", "activity"]) {
    assert.ok(!scopes.mayWatch(refused), refused);
  }
});

test("models are named by globs", () => {
  const scopes = new Scopes(["predict:activity*"]);
  assert.ok(scopes.maySend && scopes.mayPredict("activity-v2"));
  assert.ok(!scopes.mayPredict("host") && !scopes.isAdmin);
  assert.ok(!new Scopes(["watch:*"]).maySend);
});

test("streams are subscribed by what is granted", () => {
  assert.deepEqual(new Scopes(["watch:*"]).streams, ["*/*"]);
  assert.deepEqual(new Scopes(["admin"]).streams, ["*/*"]);
  assert.deepEqual(new Scopes(["watch:$stats", "watch:a/*", "predict:*", "watch:*/b"]).streams, ["a/*", "*/b"]);
  assert.deepEqual(new Scopes(["predict:*", "watch:$alerts"]).streams, []);
  assert.ok(new Scopes(Array.from({ length: 200 }, (_, at) => `watch:m/${at}`)).streams.length < 63);
});

test("admin may do everything, nobody nothing", () => {
  const [admin, nobody] = [new Scopes(["admin"]), new Scopes([])];
  assert.ok(admin.isAdmin && admin.maySend && admin.mayPredict("m") && admin.mayWatch("*/*") && admin.mayWatch("$stats"));
  assert.ok(!nobody.isAdmin && !nobody.maySend && !nobody.mayPredict("m") && !nobody.mayWatch("m/k"));
});
