import assert from "node:assert/strict";
import { test } from "node:test";

import { Account } from "../../static/js/account.js";

const SLOT = "waterspout.credential";
const ALICE = { name: "alice", kind: "key", scopes: ["predict:*"], expires_at: null };
const OPEN = { name: "anonymous", kind: "open", scopes: ["admin"], expires_at: null };

/** A server that knows some credentials, and the storage of a tab. */
class Bench {
  constructor({ known = { good: ALICE }, stored = {}, isOpen = false } = {}) {
    this.known = known;
    this.isOpen = isOpen;
    this.stored = new Map(Object.entries(stored));
    this.asked = [];
    this.tickets = 0;
    this.gate = Promise.resolve();
    this.changes = [];
    this.account = new Account({
      fetch: (path, options) => this.#answer(path, options),
      storage: {
        getItem: (name) => this.stored.get(name) ?? null,
        setItem: (name, value) => this.stored.set(name, value),
        removeItem: (name) => this.stored.delete(name),
      },
    });
    this.account.onChange(() => this.changes.push(this.account.me?.name ?? null));
  }

  async #answer(path, { method = "GET", headers = {} }) {
    const credential = headers.Authorization?.replace("Bearer ", "") ?? "";
    this.asked.push(`${method} ${path} ${credential}`.trim());
    const me = this.isOpen ? OPEN : this.known[credential];
    await this.gate;
    if (!me) return Response.json({ error: { message: "no such API key" } }, { status: 401 });
    if (path === "/v1/me") return Response.json(me);
    if (path === "/v1/tickets") return Response.json({ ticket: this.isOpen ? null : `ticket-${++this.tickets}` });
    return Response.json({});
  }
}

test("nobody is asked for anything where the server is open", async () => {
  const bench = new Bench({ isOpen: true });
  assert.equal(await bench.account.ticket(), null);
  assert.equal(await bench.account.ticket(), null);
  assert.deepEqual(bench.asked, ["GET /v1/me"]);
  assert.ok(bench.account.scopes.isAdmin);
});

test("without a credential nobody is there, and that is no fault of his", async () => {
  const { account, changes } = new Bench();
  await account.check();
  assert.deepEqual([account.me, account.reason, changes], [null, "", [null]]);
  await assert.rejects(account.ticket(), /nobody is signed in/);
});

test("a credential is kept once the server takes it, and shown from then on", async () => {
  const bench = new Bench();
  await bench.account.signIn("  good\n");
  assert.equal(bench.stored.get(SLOT), "good");
  assert.equal(await bench.account.ticket(), "ticket-1");
  assert.equal(await bench.account.ticket(), "ticket-2");
  await bench.account.fetch("/v1/models");
  assert.deepEqual(bench.asked, ["GET /v1/me good", "POST /v1/tickets good", "POST /v1/tickets good", "GET /v1/models good"]);
  assert.deepEqual(bench.changes, ["alice"]);
});

test("one that is refused is not kept, and the reason is the server's", async () => {
  const bench = new Bench();
  await assert.rejects(bench.account.signIn("bad"), /no such API key/);
  for (const text of ["", "  ", "a b", "schlüssel", "x".repeat(8193)]) await assert.rejects(bench.account.signIn(text));
  assert.deepEqual(bench.asked, ["GET /v1/me bad"]);
  assert.deepEqual([bench.stored.size, bench.changes], [0, []]);
});

test("a server that cannot be reached is not a wrong key", async () => {
  const bench = new Bench({ stored: { [SLOT]: "good" } });
  bench.gate = Promise.reject(new TypeError("failed"));
  bench.gate.catch(() => {});
  await assert.rejects(bench.account.signIn("good"), /cannot be reached/);
  await assert.rejects(bench.account.check());
  assert.equal(bench.stored.get(SLOT), "good");
  assert.deepEqual(bench.changes, []);
});

test("a stored credential is shown after a reload", async () => {
  const { account } = new Bench({ stored: { [SLOT]: "good" } });
  await account.check();
  assert.equal(account.me.name, "alice");
});

test("one that is taken no longer is forgotten with the reason, whatever was asked", async () => {
  const bench = new Bench();
  await bench.account.signIn("good");
  bench.known = {};
  const reply = await bench.account.fetch("/v1/models");
  assert.equal(reply.status, 401);
  assert.equal((await reply.json()).error.message, "no such API key");
  assert.deepEqual([bench.account.me, bench.account.reason], [null, "no such API key"]);
  assert.deepEqual([bench.stored.size, bench.changes], [0, ["alice", null]]);
  assert.ok(!bench.account.scopes.maySend);
});

test("a late answer to an old credential does not touch the new one", async () => {
  const bench = new Bench({ known: { old: { ...ALICE, name: "old" }, new: { ...ALICE, name: "new" } } });
  await bench.account.signIn("old");
  let open = () => {};
  bench.gate = new Promise((resolve) => (open = resolve));
  delete bench.known.old;
  const late = [bench.account.fetch("/v1/models"), bench.account.check()];
  bench.account.signOut();
  const signedIn = bench.account.signIn("new");
  open();
  await Promise.all([...late, signedIn]);
  assert.equal(bench.account.me.name, "new");
  assert.equal(bench.stored.get(SLOT), "new");
  assert.deepEqual(bench.changes, ["old", null, "new"]);
});

test("what the credential allows is learnt anew", async () => {
  const bench = new Bench();
  await bench.account.signIn("good");
  await bench.account.check();
  bench.known.good = { ...ALICE, scopes: ["admin"] };
  await bench.account.check();
  assert.deepEqual(bench.changes, ["alice", "alice"]);
  assert.ok(bench.account.scopes.isAdmin);
});

test("a server that has become open is found out with the next ticket", async () => {
  const bench = new Bench();
  await bench.account.signIn("good");
  bench.isOpen = true;
  assert.equal(await bench.account.ticket(), null);
  await bench.account.check();
  assert.equal(bench.account.me.name, "anonymous");
});

test("signing out forgets everything", async () => {
  const bench = new Bench();
  await bench.account.signIn("good");
  bench.account.signOut();
  assert.deepEqual([bench.account.me, bench.account.reason, bench.stored.size], [null, "", 0]);
});
