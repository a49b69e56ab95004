import assert from "node:assert/strict";
import { test } from "node:test";

import { Averager, channelsOf, numbersOf, obstacle } from "../../static/js/motion.js";

const input = (dtype, ...shape) => ({ name: "x", dtype, shape });

for (const [name, model, channels, why] of [
  ["six channels in a window", { inputs: [input("float32", 100, 6)], window: { length: 100, hop: 10 } }, 6, ""],
  ["three channels", { inputs: [input("float64", 3)] }, 3, ""],
  [
    "other sizes",
    { inputs: [input("float32", 4)] },
    0,
    "a motion sensor gives 3 or 6 numbers, and this model takes 4 per event",
  ],
  [
    "a dynamic size",
    { inputs: [input("float32", null)] },
    0,
    "a motion sensor gives 3 or 6 numbers, and this model takes any number per event",
  ],
  ["integers", { inputs: [input("int8", 3)] }, 0, "this model takes int8, and a sensor gives fractions"],
  ["two inputs", { inputs: [input("float32", 3), input("float32", 3)] }, 0, "this model takes more than one input"],
  ["no input", { inputs: [] }, 0, "this model takes no input"],
]) {
  test(`a model of ${name}`, () => assert.deepEqual(channelsOf(model), { channels, why }));
}

test("a page must be secure and its browser must have a sensor", () => {
  assert.match(obstacle({ isSecureContext: false, DeviceMotionEvent: {} }), /https/);
  assert.match(obstacle({ isSecureContext: true }), /this browser gives pages none/);
  assert.equal(obstacle({ isSecureContext: true, DeviceMotionEvent: {} }), "");
});

test("channels are accelerations without gravity, then rotations in radians", () => {
  const acceleration = { x: 1, y: 2, z: 3 };
  const gravity = { x: 1, y: 2, z: 12.8 };
  const rotationRate = { alpha: 180, beta: -90, gamma: 0 };
  const reading = { acceleration, accelerationIncludingGravity: gravity, rotationRate };
  assert.deepEqual(numbersOf(reading, 6), [1, 2, 3, Math.PI, -Math.PI / 2, 0]);
  assert.deepEqual(numbersOf(reading, 3), [1, 2, 3]);
  const coarse = { ...reading, acceleration: { x: null, y: null, z: null }, rotationRate: null };
  assert.deepEqual(numbersOf(coarse, 3), [1, 2, 12.8]);
  assert.equal(numbersOf(coarse, 6), null);
  assert.equal(numbersOf({ acceleration: null, accelerationIncludingGravity: null, rotationRate: null }, 3), null);
});

test("a sample is the mean of the readings since the last, or that again", () => {
  const averager = new Averager();
  assert.equal(averager.take(), null);
  averager.add([1, 10]);
  averager.add([3, 20]);
  assert.deepEqual(averager.take(), [2, 15]);
  assert.deepEqual(averager.take(), [2, 15]);
  averager.add([5, 5]);
  assert.deepEqual(averager.take(), [5, 5]);
});
