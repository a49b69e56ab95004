import assert from "node:assert/strict";
import { test } from "node:test";

import { Connection } from "../../static/js/connection.js";

/** A world whose clock stands until it is moved, and whose sockets are played by the test. */
class Stage {
  constructor() {
    this.time = 0;
    this.timers = [];
    this.sockets = [];
    this.connection = new Connection({
      open: () => this.#open(),
      now: () => this.time,
      after: (run, milliseconds) => {
        const timer = { run, at: this.time + milliseconds };
        this.timers.push(timer);
        return timer;
      },
      cancel: (timer) => (this.timers = this.timers.filter((other) => other !== timer)),
      random: () => 0.5,
    });
  }

  #open() {
    const socket = { sent: [], readyState: 0, isClosed: false, send: (text) => socket.sent.push(JSON.parse(text)) };
    socket.close = () => (socket.isClosed = true);
    socket.hear = (...messages) => socket.onmessage({ data: JSON.stringify(messages.length > 1 ? messages : messages[0]) });
    socket.welcome = () => {
      socket.readyState = 1;
      socket.hear({ op: "welcome" });
    };
    socket.lose = (reason = "") => {
      socket.readyState = 3;
      socket.onclose({ reason });
    };
    this.sockets.push(socket);
    return socket;
  }

  get socket() {
    return this.sockets.at(-1);
  }

  get phase() {
    return this.connection.state.phase;
  }

  pass(milliseconds) {
    const end = this.time + milliseconds;
    for (;;) {
      const due = this.timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      this.timers = this.timers.filter((other) => other !== due);
      this.time = due.at;
      due.run();
    }
    this.time = end;
  }

  live() {
    this.connection.connect();
    this.socket.welcome();
    return this.socket;
  }
}

const subscribe = (pattern, wish = {}) => ({ op: "subscribe", topics: [pattern], ...wish });
const unsubscribe = (...topics) => ({ op: "unsubscribe", topics });

test("what is wished before the welcome is subscribed with it, what is wished later at once", () => {
  const stage = new Stage();
  stage.connection.subscribe("$stats");
  stage.connection.subscribe("*/*", { hz: 5 });
  const socket = stage.live();
  stage.connection.subscribe("m/k", { hz: 20, inputs: true });
  assert.deepEqual(socket.sent, [[subscribe("$stats"), subscribe("*/*", { hz: 5 })], subscribe("m/k", { hz: 20, inputs: true })]);
});

test("a pattern is given up with its last holder, and once", () => {
  const stage = new Stage();
  const socket = stage.live();
  const first = stage.connection.subscribe("*/*", { hz: 5 });
  const second = stage.connection.subscribe("*/*", { hz: 10 });
  first();
  first();
  assert.deepEqual(socket.sent.splice(0), [subscribe("*/*", { hz: 5 }), subscribe("*/*", { hz: 10 })]);
  second();
  assert.deepEqual(socket.sent, [unsubscribe("*/*")]);
});

test("lists are taken apart and each message is read", () => {
  const stage = new Stage();
  const read = [];
  const stop = stage.connection.onMessage((message) => read.push(message.n));
  const socket = stage.live();
  socket.hear({ n: 1 }, { n: 2 });
  socket.hear({ n: 3 });
  stop();
  socket.hear({ n: 4 });
  assert.deepEqual(read, [undefined, 1, 2, 3]);
});

test("a lost connection comes back, each failure waiting longer, and subscribes again", () => {
  const stage = new Stage();
  stage.connection.subscribe("$stats");
  stage.connection.connect();
  for (const wait of [250, 500, 1000]) {
    const tried = stage.sockets.length;
    stage.socket.lose();
    assert.equal(stage.phase, "waiting");
    assert.equal(stage.connection.state.retryAt, stage.time + wait);
    stage.pass(wait - 1);
    assert.equal(stage.sockets.length, tried);
    stage.pass(1);
    assert.equal(stage.sockets.length, tried + 1);
    assert.equal(stage.phase, "connecting");
  }
  stage.socket.welcome();
  assert.equal(stage.phase, "live");
  assert.deepEqual(stage.socket.sent, [[subscribe("$stats")]]);
});

test("only a connection that has held for a while starts the waits anew", () => {
  const stage = new Stage();
  stage.connection.subscribe("$stats");
  stage.connection.connect();
  stage.socket.lose();
  stage.pass(250);
  stage.socket.welcome();
  stage.socket.lose(); // at once
  assert.equal(stage.connection.state.retryAt - stage.time, 500);
  stage.pass(500);
  stage.socket.welcome();
  stage.pass(5000);
  stage.socket.lose();
  assert.equal(stage.connection.state.retryAt - stage.time, 250);
});

test("a server that says when to come back is not asked before", () => {
  const stage = new Stage();
  const socket = stage.live();
  socket.hear({ op: "goaway", reason: "shutting down", reconnect_in_ms: 1000 });
  stage.pass(200);
  socket.lose("shutting down");
  assert.equal(stage.connection.state.retryAt, 200 + 800 + 250);
  assert.equal(stage.connection.state.reason, "shutting down");
});

test("a person may have it tried now", () => {
  const stage = new Stage();
  stage.live().lose();
  stage.connection.connect();
  assert.equal(stage.sockets.length, 2);
  stage.pass(60_000);
  assert.equal(stage.sockets.length, 2, "the wait that was under way is over");
});

test("a silent server is asked, and given up when it does not answer", () => {
  const stage = new Stage();
  const socket = stage.live();
  stage.pass(12_500);
  assert.deepEqual(socket.sent, [{ op: "ping" }]);
  socket.hear({ op: "pong" });
  assert.equal(stage.phase, "live");
  stage.pass(15_000);
  assert.equal(socket.isClosed, true);
  assert.equal(stage.phase, "waiting");
  assert.equal(stage.connection.state.reason, "the server went silent");
  const tried = stage.sockets.length;
  socket.lose(); // told late
  assert.equal(stage.sockets.length, tried);
});

test("a hidden page subscribes to nothing and asks for everything when it is seen again", () => {
  const stage = new Stage();
  stage.connection.subscribe("$stats");
  stage.connection.subscribe("*/*", { hz: 5 });
  const socket = stage.live();
  socket.sent.length = 0;
  stage.connection.hide(true);
  assert.equal(stage.phase, "asleep");
  assert.deepEqual(socket.sent.splice(0), [unsubscribe("$stats", "*/*")]);
  stage.connection.subscribe("m/k");
  stage.pass(600_000);
  assert.deepEqual([socket.sent, stage.timers], [[], []], "nothing is sent and no timer runs");
  stage.connection.hide(false);
  assert.equal(stage.phase, "live");
  assert.deepEqual(socket.sent, [[subscribe("$stats"), subscribe("*/*", { hz: 5 }), subscribe("m/k")]]);
});

test("a hidden page does not reconnect before it is seen", () => {
  const stage = new Stage();
  const socket = stage.live();
  stage.connection.hide(true);
  socket.lose();
  stage.pass(600_000);
  assert.equal(stage.sockets.length, 1);
  stage.connection.hide(false);
  assert.equal(stage.sockets.length, 2);
});

test("a page that was hidden while it connected wakes up live", () => {
  const stage = new Stage();
  stage.connection.subscribe("$stats");
  stage.connection.connect();
  stage.connection.hide(true);
  stage.socket.welcome();
  assert.deepEqual(stage.socket.sent, []);
  stage.connection.hide(false);
  assert.equal(stage.phase, "live");
  assert.deepEqual(stage.socket.sent, [[subscribe("$stats")]]);
});

test("states are told as they change, the present one at once", () => {
  const stage = new Stage();
  const phases = [];
  stage.connection.onState(({ phase }) => phases.push(phase));
  stage.live().lose();
  assert.deepEqual(phases, ["waiting", "connecting", "live", "waiting"]);
});

test("once it has left it stays away until it may enter again, whatever else happens", () => {
  const stage = new Stage();
  stage.connection.subscribe("$stats");
  const socket = stage.live();
  stage.connection.leave();
  assert.ok(socket.isClosed);
  assert.equal(stage.phase, "away");
  socket.lose();
  stage.connection.connect();
  stage.connection.hide(true);
  stage.connection.hide(false);
  stage.pass(60_000);
  assert.deepEqual([stage.sockets.length, stage.phase], [1, "away"]);
  stage.connection.enter();
  stage.socket.welcome();
  assert.deepEqual([stage.sockets.length, stage.phase], [2, "live"]);
  assert.deepEqual(stage.socket.sent, [[subscribe("$stats")]]);
});

test("a page that may enter while it is hidden connects once it is seen", () => {
  const stage = new Stage();
  stage.connection.leave();
  stage.connection.hide(true);
  stage.connection.enter();
  assert.deepEqual([stage.sockets.length, stage.phase], [0, "asleep"]);
  stage.connection.hide(false);
  assert.deepEqual([stage.sockets.length, stage.phase], [1, "connecting"]);
});

test("leaving ends the wait for the next attempt", () => {
  const stage = new Stage();
  stage.connection.connect();
  stage.socket.lose();
  assert.equal(stage.phase, "waiting");
  stage.connection.leave();
  stage.pass(60_000);
  assert.equal(stage.sockets.length, 1);
});
