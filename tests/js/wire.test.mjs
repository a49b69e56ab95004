import assert from "node:assert/strict";
import { test } from "node:test";

import { WireLog } from "../../static/js/flight.js";
import { closeWords, isFinal, streamUrl, Wire } from "../../static/js/wire.js";

const WELCOME = { op: "welcome", session: "1-1", limits: { max_in_flight: 4 }, model: { name: "m" } };

/** A wire with sockets and a clock that the test moves. */
class Bench {
  constructor(why = "") {
    this.sockets = [];
    this.timers = [];
    this.states = [];
    this.messages = [];
    this.lost = 0;
    this.log = new WireLog();
    const world = {
      open: () => this.sockets[this.sockets.push(this.#socket()) - 1],
      whyRefused: async () => why,
      now: () => 1000,
      after: (run, milliseconds) => this.timers.push({ run, milliseconds }),
      cancel: (timer) => timer && (this.timers[timer - 1].run = () => {}),
      random: () => 0.5,
    };
    const listener = {
      onState: (state) => this.states.push(state),
      onMessage: (message) => this.messages.push(message),
      onLost: () => (this.lost += 1),
    };
    this.wire = new Wire(world, listener, this.log);
  }

  #socket() {
    return {
      sent: [],
      bufferedAmount: 0,
      send(text) {
        this.sent.push(text);
      },
      close(code) {
        this.closedWith = code;
      },
    };
  }

  get socket() {
    return this.sockets[this.sockets.length - 1];
  }

  get phases() {
    return this.states.map(({ phase }) => phase);
  }

  async open() {
    const ready = this.wire.ready();
    this.socket.onmessage({ data: JSON.stringify(WELCOME) });
    return ready;
  }
}

test("is ready once the server has said welcome, and connects once", async () => {
  const bench = new Bench();
  const first = bench.wire.ready();
  const second = bench.wire.ready();
  bench.socket.onmessage({ data: JSON.stringify(WELCOME) });
  assert.deepEqual([await first, await second, await bench.wire.ready()], [WELCOME, WELCOME, WELCOME]);
  assert.equal(bench.sockets.length, 1);
  assert.deepEqual(bench.phases, ["connecting", "open"]);
});

test("logs exactly what is sent and what comes, and takes lists apart", async () => {
  const bench = new Bench();
  await bench.open();
  assert.equal(bench.wire.send({ id: 1, data: [2n ** 60n, 0.5] }), true);
  bench.socket.onmessage({ data: '[ {"id": 1}, {"id": 2} ]' });
  assert.deepEqual(bench.socket.sent, ['{"id":1,"data":[1152921504606846976,0.5]}']);
  assert.deepEqual(
    bench.log.entries.map(({ direction, text }) => [direction, text]),
    [
      ["in", JSON.stringify(WELCOME)],
      ["out", bench.socket.sent[0]],
      ["in", '[ {"id": 1}, {"id": 2} ]'],
    ],
  );
  assert.deepEqual(bench.messages.slice(1), [{ id: 1 }, { id: 2 }]);
});

test("comes back after a loss, says so, and not before the server wants it", async () => {
  const bench = new Bench();
  await bench.open();
  bench.socket.onmessage({ data: '{"op":"goaway","reason":"restart","reconnect_in_ms":1000}' });
  bench.socket.onclose({ code: 1001, reason: "" });
  assert.equal(bench.lost, 1);
  assert.equal(bench.wire.send({ id: 1 }), false);
  const { phase, reason, retryAt } = bench.states.at(-1);
  assert.deepEqual([phase, reason, retryAt], ["waiting", "the server is shutting down (1001)", 1000 + 1000 + 250]);
  const waiting = bench.wire.ready();
  bench.timers.at(-1).run();
  bench.socket.onmessage({ data: JSON.stringify(WELCOME) });
  assert.deepEqual(await waiting, WELCOME);
  assert.equal(bench.log.entries.at(-2).text, "closed: the server is shutting down (1001)");
});

test("stays closed where trying again is of no use, and can be asked to", async () => {
  const bench = new Bench();
  await bench.open();
  bench.socket.onclose({ code: 4501, reason: "100 malformed messages in a row" });
  assert.equal(bench.states.at(-1).phase, "closed");
  assert.equal(bench.timers.length, 0);
  await bench.open();
  assert.equal(bench.sockets.length, 2);
});

test("asks why a handshake was refused, and stops where that will not change", async () => {
  const bench = new Bench("unknown model 'm'");
  const ready = bench.wire.ready();
  bench.socket.onclose({ code: 1006, reason: "" });
  await assert.rejects(ready, { message: "unknown model 'm'" });
  assert.deepEqual(bench.phases, ["connecting", "waiting", "closed"]);
  for (const { run } of bench.timers) run();
  assert.equal(bench.sockets.length, 1);
});

test("goes on where a handshake failed for a while", async () => {
  const bench = new Bench();
  const ready = bench.wire.ready();
  for (const milliseconds of [250, 500, 1000]) {
    bench.socket.onclose({ code: 1006, reason: "" });
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(bench.timers.at(-1).milliseconds, milliseconds);
    bench.timers.at(-1).run();
  }
  bench.socket.onmessage({ data: JSON.stringify(WELCOME) });
  assert.deepEqual(await ready, WELCOME);
});

test("closed by the page, it is silent and stays so", async () => {
  const bench = new Bench();
  await bench.open();
  const { socket } = bench;
  bench.wire.close();
  const told = bench.states.length;
  socket.onclose({ code: 1000, reason: "" });
  socket.onmessage({ data: "{}" });
  assert.equal(bench.states.length, told);
  assert.equal(socket.closedWith, 1000);
  const other = new Bench();
  const ready = other.wire.ready();
  other.wire.close();
  await assert.rejects(ready, { message: "the socket was closed" });
});

test("says close codes in words", () => {
  assert.equal(closeWords(4008), "this page read too slowly (4008)");
  assert.equal(closeWords(4999, "no reason"), "the server closed the socket (4999: no reason)");
  assert.deepEqual([1001, 1006, 1011, 4008, 4012].filter(isFinal), []);
  assert.deepEqual([1002, 1009, 4501].filter(isFinal), [1002, 1009, 4501]);
});

test("names models and versions in the address, whatever they are called", () => {
  assert.equal(String(streamUrl("http://a:1/#try", "m")), "ws://a:1/v1/models/m/stream?timings=1");
  assert.equal(
    String(streamUrl("https://a/", "a b/ä", "canary&x")),
    "wss://a/v1/models/a%20b%2F%C3%A4/stream?version=canary%26x&timings=1",
  );
});
