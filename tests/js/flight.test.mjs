import assert from "node:assert/strict";
import { test } from "node:test";

import { Flight, Pace, WireLog } from "../../static/js/flight.js";

test("a model without a window answers each event once", () => {
  const flight = new Flight(2);
  flight.depart(1, 100);
  assert.equal(flight.hasRoom(), true);
  flight.depart(2, 110);
  assert.equal(flight.hasRoom(), false);
  assert.equal(flight.arrive({ id: 1, outputs: {} }, 130), 30);
  assert.equal(flight.rows, 1);
  assert.ok(Number.isNaN(flight.arrive({ id: 1, outputs: {} }, 140)), "answered before");
  assert.equal(flight.arrive({ id: 2, error: { code: "inference_failed" } }, 150), 40);
  assert.equal(flight.rows, 0);
  assert.ok(Number.isNaN(flight.arrive({ op: "pong" }, 160)));
});

/** Count the rows that a window completes by going through its samples one by one. */
function countRows(total, { length, hop }) {
  let rows = 0;
  for (let at = 1, next = length; at <= total; at += 1) {
    if (at !== next) continue;
    rows += 1;
    next += hop;
  }
  return rows;
}

test("a window's events are expected to be answered when they complete rows", () => {
  for (const window of [
    { length: 3, hop: 1 },
    { length: 5, hop: 2 },
    { length: 2, hop: 7 },
    { length: 1, hop: 1 },
  ]) {
    for (const chunk of [1, 2, 5, 11]) {
      const flight = new Flight(1e6, window);
      let total = 0;
      for (let id = 0; id < 20; id += 1) {
        flight.depart(id, 0, chunk);
        total += chunk;
        assert.equal(flight.rows, countRows(total, window), JSON.stringify({ window, chunk, total }));
      }
    }
  }
});

test("keys have windows of their own, which a reset and a gap empty", () => {
  const flight = new Flight(10, { length: 2, hop: 1 });
  flight.depart(1, 0, 1, "a");
  flight.depart(2, 0, 1, "b");
  assert.equal(flight.rows, 0);
  flight.depart(3, 0, 1, "a");
  assert.equal(flight.rows, 1);
  flight.reset("a");
  flight.depart(4, 0, 1, "a");
  flight.arrive({ op: "gap", key: "b", count: 1, why: "idle" }, 0);
  flight.depart(5, 0, 1, "b");
  assert.equal(flight.rows, 1);
});

test("a refused event has not moved the window, a failed run has", () => {
  const flight = new Flight(10, { length: 2, hop: 1 });
  flight.depart(1, 0);
  flight.depart(2, 0);
  flight.arrive({ id: 2, error: { code: "overloaded" } }, 0);
  assert.equal(flight.rows, 0);
  flight.depart(3, 0);
  assert.equal(flight.rows, 1);
  flight.arrive({ id: 3, error: { code: "inference_failed" } }, 0);
  flight.depart(4, 0);
  assert.equal(flight.rows, 1);
  const fresh = new Flight(10, { length: 2, hop: 1 });
  fresh.depart(1, 0);
  fresh.arrive({ id: 1, error: { code: "invalid_input" } }, 0);
  fresh.depart(2, 0);
  assert.equal(fresh.rows, 0);
});

test("an event of several rows is answered that often, or refused at once", () => {
  const flight = new Flight(4, { length: 1, hop: 1 });
  flight.depart(1, 0, 3);
  assert.equal(flight.hasRoom(2), false);
  flight.arrive({ id: 1, outputs: {} }, 0);
  assert.equal(flight.hasRoom(2), true);
  flight.arrive({ id: 1, outputs: {} }, 0);
  flight.arrive({ id: 1, outputs: {} }, 0);
  assert.equal(flight.rows, 0);
  flight.depart(2, 0, 3);
  flight.arrive({ id: 2, error: { code: "invalid_input" } }, 0);
  assert.equal(flight.rows, 0);
  assert.equal(flight.hasRoom(9), true, "more than ever fits is for the server to refuse");
});

test("a rate makes rows due, and what was held up is caught up with for a second at most", () => {
  const pace = new Pace(10, 0);
  assert.equal(pace.due(0), 1);
  pace.take(1);
  assert.equal(pace.due(99), 0);
  assert.equal(pace.due(100), 1);
  assert.equal(pace.due(500), 5);
  assert.equal(pace.due(60_000), 11);
  pace.take(11);
  assert.equal(pace.due(60_000), 0);
  assert.equal(pace.due(60_100), 1);
  assert.equal(new Pace(Infinity, 0).due(0), Infinity);
  const slow = new Pace(0.5, 0);
  slow.take(slow.due(0));
  assert.equal(slow.due(1_999), 0);
  assert.equal(slow.due(2_000), 1);
});

test("a rate holds over a long time", () => {
  const pace = new Pace(250, 0);
  let rows = 0;
  for (let now = 0; now <= 10_000; now += 16) {
    const due = pace.due(now);
    pace.take(due);
    rows += due;
  }
  assert.ok(Math.abs(rows - 2500) <= 4, `${rows}`);
});

test("a log is bounded by number and by size, and can be paused", () => {
  const log = new WireLog(3, 10);
  for (const text of ["a", "b", "c", "d"]) log.add("out", text, 0);
  assert.equal(log.text(), "→ b\n→ c\n→ d");
  log.add("in", "123456789", 0);
  assert.equal(log.text(), "→ d\n← 123456789");
  log.add("in", "x".repeat(50), 0);
  assert.equal(log.entries.length, 1, "the last is kept whatever its size");
  log.isPaused = true;
  log.add("in", "y", 0);
  assert.equal(log.missed, 1);
  assert.equal(log.entries.length, 1);
  log.isPaused = false;
  log.clear();
  log.add("note", "z", 0);
  assert.equal(log.text(), "# z");
  assert.equal(log.missed, 0);
});
