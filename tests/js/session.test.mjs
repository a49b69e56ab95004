import assert from "node:assert/strict";
import { test } from "node:test";

import { checkRows, itemsOf } from "../../static/js/csv_panel.js";
import { planColumns } from "../../static/js/columns.js";
import { Interrupted, TrySession } from "../../static/js/session.js";

const WELCOME = { op: "welcome", session: "1-1", limits: { max_in_flight: 3, max_message_bytes: 200 } };

/** A session whose server answers when the test says so. */
class Bench {
  constructor(model = { name: "m" }, answersAtOnce = true) {
    this.sent = [];
    this.answers = [];
    const socket = {
      bufferedAmount: 0,
      send: (text) => {
        this.sent.push(JSON.parse(text));
        if (answersAtOnce) queueMicrotask(() => this.answer(JSON.parse(text)));
      },
      close() {},
    };
    this.socket = socket;
    const world = {
      open: () => {
        queueMicrotask(() => this.receive(WELCOME));
        return socket;
      },
      whyRefused: async () => "",
      now: () => performance.now(),
      after: (run, milliseconds) => setTimeout(run, milliseconds),
      cancel: (timer) => clearTimeout(timer),
      random: () => 1,
    };
    this.session = new TrySession(model, world);
    this.session.onAnswer = (answer) => this.answers.push(answer);
  }

  receive(message) {
    this.socket.onmessage({ data: JSON.stringify(message) });
  }

  answer({ id, op }) {
    if (op === undefined) this.receive({ id, outputs: { y: [id] } });
  }

  get events() {
    return this.sent.filter(({ op }) => op === undefined);
  }
}

async function* batches(...lists) {
  yield* lists;
}

const items = (count, key) => Array.from({ length: count }, (_, at) => ({ row: at + 2, event: { data: at, key } }));

/** Wait until something holds, turn by turn of the event loop. */
async function until(look) {
  for (const end = performance.now() + 5000; !look();) {
    assert.ok(performance.now() < end, String(look));
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test("one event after the other, named in the order they were sent", async () => {
  const { session, answers } = new Bench();
  await session.send({ data: [1] }, 1);
  await session.send({ data: [2], key: "k" }, 1);
  await until(() => answers.length === 2);
  assert.deepEqual(
    answers.map(({ name }) => name),
    ["event 1", "event 2"],
  );
  assert.ok(answers.every(({ ms }) => ms >= 0));
  assert.deepEqual(session.counts, { sent: 2, predictions: 2, errors: 0, lost: 0 });
  session.close();
});

test("a stream's answers are named by row, and ids go on from stream to stream", async () => {
  const bench = new Bench();
  await bench.session.send({ data: 0 }, 1);
  await bench.session.stream(
    batches(
      items(2),
      [],
      items(1).map((item) => ({ ...item, row: 9 })),
    ),
    Infinity,
  );
  await bench.session.send({ data: 0 }, 1);
  await bench.session.stream(batches(items(1)), Infinity);
  await until(() => bench.answers.length === 6);
  assert.deepEqual(
    bench.answers.map(({ name }) => name),
    ["event 1", "row 2", "row 3", "row 9", "event 11", "row 2"],
  );
  assert.deepEqual(
    bench.events.map(({ id }) => id),
    [1, 3, 4, 10, 11, 13],
  );
  bench.session.close();
});

test("no more is in flight than the server allows", async () => {
  const bench = new Bench(undefined, false);
  const streaming = bench.session.stream(batches(items(10)), Infinity);
  for (let answered = 0; answered < 10; answered += 1) {
    await until(() => bench.events.length === Math.min(10, answered + 3));
    await new Promise((resolve) => setTimeout(resolve, 20)); // longer than a turn: it would send if it could
    assert.equal(bench.events.length, Math.min(10, answered + 3));
    bench.answer(bench.events[answered]);
  }
  await streaming;
  bench.session.close();
});

test("each key of a windowed model begins with an empty window", async () => {
  const bench = new Bench({ name: "m", window: { length: 100, hop: 1 } });
  await bench.session.stream(batches(items(2, "a"), items(1, "b"), items(1, "a")), Infinity);
  const shown = bench.sent.map(({ op, key }) => (op ? `${op} ${key}` : key));
  assert.deepEqual(shown, ["reset a", "a", "a", "reset b", "b", "a"]);
  bench.session.close();
});

test("a stream that is stopped, or whose connection is lost, ends as interrupted", async () => {
  const stopped = new Bench(undefined, false);
  const first = stopped.session.stream(batches(items(10)), Infinity);
  await until(() => stopped.events.length === 3);
  stopped.session.stop();
  await assert.rejects(first, new Interrupted("stopped"));
  stopped.session.close();

  const cut = new Bench(undefined, false);
  const second = cut.session.stream(batches(items(10)), Infinity);
  await until(() => cut.events.length === 3);
  cut.socket.onclose({ code: 1006, reason: "" });
  await assert.rejects(second, new Interrupted("the connection was lost"));
  assert.equal(cut.session.counts.lost, 3);
  assert.equal(cut.session.isRunning, false);
  cut.session.close();
});

test("an event that is too large is not sent", async () => {
  const bench = new Bench();
  const message = "the message has 220 bytes, the server takes at most 200";
  await assert.rejects(bench.session.send({ data: "x".repeat(202) }, 1), { message });
  assert.deepEqual(bench.events, []);
  bench.session.close();
});

const INPUTS = [{ name: "x", dtype: "float32", shape: [2] }];

test("a check reads all rows, tells the first faults, and can be given up", async () => {
  const plan = planColumns(["p", "q"], true, INPUTS);
  const check = (text, onProgress = () => true) => checkRows(batches(text), plan, true, INPUTS, onProgress);
  assert.deepEqual(await check("p,q\n1,2\n3,4\n"), { rows: 2, faults: [] });
  const fault = (row) => `row ${row}, column 1 (p): expected a number, got 'x'`;
  assert.deepEqual(await check("p,q\nx,2\n1,2\nx,2\n"), { rows: 3, faults: [fault(2), fault(4)] });
  assert.equal((await check(`p,q\n${"x,2\n".repeat(99)}`)).faults.length, 5);
  const open = "row 3, column 1: a quote is opened here and never closed";
  assert.deepEqual(await check('p,q\nx,2\n"1'), { rows: 1, faults: [fault(2), open] });
  assert.equal((await check("p,q\n1,2\n", () => false)).rows, 1);
});

test("items are the rows below the header, with their numbers", async () => {
  const plan = planColumns(["p", "q"], true, INPUTS);
  const found = [];
  for await (const some of itemsOf(batches("\n\np", ",q\n1,2\n", "\n3,4"), plan, true, INPUTS)) found.push(...some);
  assert.deepEqual(found, [
    { row: 4, event: { data: [1, 2] } },
    { row: 6, event: { data: [3, 4] } },
  ]);
});
