import assert from "node:assert/strict";
import { test } from "node:test";

import { TicketedSocket } from "../../static/js/ticketed_socket.js";

/** An account whose tickets the test hands out, and the socket that is opened with one. */
class Bench {
  constructor() {
    this.opened = [];
    this.checks = 0;
    this.closed = [];
    this.messages = [];
    const account = {
      ticket: () => new Promise((resolve, reject) => Object.assign(this, { give: resolve, refuse: reject })),
      check: async () => void (this.checks += 1),
    };
    const inner = { readyState: 1, bufferedAmount: 7, sent: [], send: (text) => inner.sent.push(text) };
    inner.close = (code) => (inner.closedWith = code);
    this.inner = inner;
    this.socket = new TicketedSocket(account, new URL("ws://x/v1/watch?timings=1"), (url) => {
      this.opened.push(String(url));
      return inner;
    });
    this.socket.onmessage = ({ data }) => this.messages.push(data);
    this.socket.onclose = ({ code, reason }) => this.closed.push([code, reason]);
  }

  settle() {
    return new Promise(setImmediate);
  }
}

test("it opens with its ticket, and is a WebSocket from then on", async () => {
  const bench = new Bench();
  assert.equal(bench.socket.readyState, 0);
  bench.give("t-1");
  await bench.settle();
  assert.deepEqual(bench.opened, ["ws://x/v1/watch?timings=1&ticket=t-1"]);
  assert.deepEqual([bench.socket.readyState, bench.socket.bufferedAmount], [1, 7]);
  bench.socket.send("hello");
  bench.inner.onmessage({ data: "welcome" });
  assert.deepEqual([bench.inner.sent, bench.messages], [["hello"], ["welcome"]]);
  bench.inner.onclose({ code: 1001, reason: "shutting_down" });
  assert.deepEqual([bench.closed, bench.checks, bench.socket.readyState], [[[1001, "shutting_down"]], 0, 3]);
});

test("where none is needed none is sent", async () => {
  const bench = new Bench();
  bench.give(null);
  await bench.settle();
  assert.deepEqual(bench.opened, ["ws://x/v1/watch?timings=1"]);
});

test("without a ticket it is lost as if it had been cut", async () => {
  const bench = new Bench();
  bench.refuse(new Error("too many tickets"));
  await bench.settle();
  assert.deepEqual([bench.opened, bench.closed], [[], [[1006, "too many tickets"]]]);
});

test("closed before the ticket came, it never opens", async () => {
  const bench = new Bench();
  bench.socket.close(1000);
  bench.give("t-1");
  await bench.settle();
  assert.deepEqual([bench.opened, bench.closed, bench.socket.readyState], [[], [], 3]);
});

test("a credential that is not taken any more is asked about", async () => {
  for (const code of [4500, 4503]) {
    const bench = new Bench();
    bench.give("t-1");
    await bench.settle();
    bench.inner.onclose({ code, reason: "unauthenticated" });
    assert.deepEqual([bench.checks, bench.closed], [1, [[code, "unauthenticated"]]]);
  }
});
