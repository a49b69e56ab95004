import assert from "node:assert/strict";
import { test } from "node:test";

import { History } from "../../static/js/history.js";
import { Ring } from "../../static/js/ring.js";
import { Store } from "../../static/js/store.js";

const update = (n, more = {}) => ({ topic: "m/a/b", n, ts: 100 + n, label: "yes", outputs: { y: [n / 10] }, us: { queue: 1, run: 2, total: 4000, batch: 1 }, ...more });

function made(now = () => 0) {
  const store = new Store(now);
  const news = [];
  store.listen((kind) => news.push(kind));
  return { store, news };
}

test("a ring keeps the last values, oldest first", () => {
  const ring = new Ring(3);
  assert.ok(Number.isNaN(ring.at(0)) && Number.isNaN(ring.at(-1)));
  for (const value of [1, 2, 3, 4]) ring.push(value);
  assert.deepEqual([ring.list(), ring.at(0), ring.at(-1), ring.at(3)], [[2, 3, 4], 2, 4, NaN]);
  ring.clear();
  assert.deepEqual(ring.list(), []);
});

test("the latest update of a topic stands for its stream, keys may hold slashes", () => {
  const { store, news } = made();
  store.take(update(1));
  store.take(update(2));
  const stream = store.streams.get("m/a/b");
  assert.deepEqual([stream.model, stream.key, stream.label, stream.score, stream.milliseconds], ["m", "a/b", "yes", 0.2, 4]);
  assert.deepEqual(stream.trend.list(), [0.1, 0.2]);
  assert.deepEqual(news, ["streams", "stream", "stream"]);
});

test("an update that comes for two patterns is one point of the trend", () => {
  const { store } = made();
  for (const n of [1, 1, 2]) store.take(update(n));
  assert.equal(store.streams.get("m/a/b").trend.length, 2);
});

test("a stream that counts from the start again begins a new trend", () => {
  const { store } = made();
  for (const n of [7, 8, 1]) store.take(update(n));
  assert.deepEqual(store.streams.get("m/a/b").trend.list(), [0.1]);
});

test("the rate counts what was conflated, and falls when the stream goes silent", () => {
  const { store } = made();
  for (const [n, ts] of [[0, 100], [50, 101], [100, 102]]) store.take(update(n, { ts }));
  const stream = store.streams.get("m/a/b");
  assert.equal(stream.rate(102), 50);
  assert.equal(stream.rate(102.5), 50);
  assert.equal(stream.rate(122), 50 / 21);
  store.take({ ...update(1), topic: "m/new" });
  assert.ok(Number.isNaN(store.streams.get("m/new").rate(101)));
});

test("a stream that ended is shown for a while and then forgotten, unless it comes back", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { store, news } = made();
  store.take(update(1));
  store.take({ ...update(2), topic: "m/back" });
  store.take(update(1, { ended: true }));
  store.take({ ...update(2, { ended: true }), topic: "m/back" });
  store.take({ ...update(3), topic: "m/back" });
  assert.equal(store.streams.get("m/a/b").isEnded, true);
  news.length = 0;
  t.mock.timers.tick(10_000);
  assert.deepEqual([...store.streams.keys()], ["m/back"]);
  assert.deepEqual(news, ["streams"]);
});

test("an ended stream that was never seen is none", () => {
  const { store } = made();
  store.take(update(1, { ended: true }));
  assert.equal(store.streams.size, 0);
});

test("a stream that is not in the snapshot is gone", () => {
  const { store, news } = made();
  for (const topic of ["m/here", "m/gone", "m/later"]) store.take({ ...update(1), topic });
  const doubt = store.doubt("*/*");
  store.take({ ...update(2), topic: "m/here" });
  const later = store.doubt("m/later"); // another snapshot, which has not come yet
  news.length = 0;
  store.sweep(doubt);
  assert.deepEqual([...store.streams.keys()], ["m/here", "m/later"]);
  assert.deepEqual(news, ["streams"]);
  store.sweep(later);
  assert.deepEqual([...store.streams.keys()], ["m/here"]);
});

test("ages are by the server's clock, as far as messages tell it", () => {
  let local = 1000;
  const { store } = made(() => local);
  assert.equal(store.serverTime(), 1000);
  store.take(update(0, { ts: 690 })); // an old value of a snapshot
  assert.equal(store.serverTime(), 690);
  local += 1;
  store.take(update(1, { ts: 701 }));
  assert.equal(store.serverTime(), 701);
  local += 5;
  assert.equal(store.serverTime(), 706);
  store.take({ op: "welcome", models: [] }); // another server, perhaps
  assert.equal(store.serverTime(), 1006);
});

test("statistics are kept with their recent history", () => {
  const { store, news } = made();
  const stats = { predictions_per_second: 10, sockets: 3, memory_bytes: 4, loop_lag_ms: 5, models: [] };
  store.take({ topic: "$stats", ts: 1, stats });
  store.take({ topic: "$stats", ts: 1.25, stats: { ...stats, sockets: 4 } });
  assert.equal(store.stats.sockets, 4);
  assert.deepEqual(store.history.sockets.list(), [3, 4]);
  assert.deepEqual(news, ["stats", "stats"]);
});

test("alerts are newest first, once each, and bounded", () => {
  const { store, news } = made();
  const alert = (id, ts = id) => ({ id, ts, rule: "r", topic: "m/k" });
  store.take({ topic: "$alerts", alert: alert(2) });
  store.takeAlerts([alert(3), alert(2), alert(1)]);
  store.takeAlerts([alert(1)]);
  store.take({ topic: "$alerts", alert: alert(1, 50) }); // of a server that was started again
  assert.deepEqual(store.alerts.map(({ ts }) => ts), [50, 3, 2, 1]);
  assert.equal(news.length, 3);
  store.takeAlerts(Array.from({ length: 300 }, (_, id) => alert(id + 100)));
  assert.equal(store.alerts.length, 100);
  assert.equal(store.alerts[0].id, 399);
});

test("a history keeps its seconds, leaves doubles out, and breaks where told", () => {
  const history = new History(1, 10);
  for (let ts = 0; ts <= 100; ts += 1) history.push(ts, [ts]);
  assert.equal(history.data[0].at(-1), 100);
  assert.ok(history.data[0][0] >= 85 && history.data[0][0] <= 90, `from ${history.data[0][0]}`);
  assert.equal(history.data[0].length, history.data[1].length);
  history.push(100, [7]);
  assert.equal(history.data[1].at(-1), 100);
  history.break();
  history.break();
  history.push(101, [NaN]);
  assert.deepEqual(history.data[1].slice(-3), [100, null, null]);
});

test("a doubt of some streams leaves the others alone", () => {
  const store = new Store(() => 0);
  for (const topic of ["a/1", "b/1"]) store.take({ topic, n: 1, ts: 0, outputs: { y: [1] } });
  store.sweep(store.doubt("a/*"));
  assert.deepEqual([...store.streams.keys()], ["b/1"]);
});

test("cleared it knows nothing of what was", () => {
  const store = new Store(() => 0);
  store.take({ op: "welcome", models: [{ name: "m" }] });
  store.take({ topic: "m/k", n: 1, ts: 0, outputs: { y: [1] } });
  store.take({ topic: "$alerts", alert: { id: 1, ts: 0, rule: "r", model: "m", topic: "m/k" } });
  store.clear();
  assert.deepEqual([store.streams.size, store.models.size, store.alerts.length, store.isListed], [0, 0, 0, false]);
  assert.deepEqual([store.stats, store.summary, store.history.predictions.length], [null, null, 0]);
});
