/**
 * Small pictures on canvases, in the page's colours.
 *
 * @typedef {import("./ring.js").Ring} Ring
 * @typedef {{text: string, muted: string, line: string, accent: string, surface: string, series: string[]}} Palette
 */

const dark = matchMedia("(prefers-color-scheme: dark)");

/** @type {Palette | null} */
let cached = null;
dark.addEventListener("change", () => (cached = null));

/** @returns {Palette} of the present scheme */
export function palette() {
  if (!cached) {
    const style = getComputedStyle(document.documentElement);
    /** @param {string} name */
    const read = (name) => style.getPropertyValue(`--${name}`).trim();
    cached = {
      text: read("text"),
      muted: read("muted"),
      line: read("line"),
      accent: read("accent"),
      surface: read("surface"),
      series: Array.from({ length: 8 }, (_, index) => read(`s${index}`)),
    };
  }
  return cached;
}

/**
 * Call back when the scheme has changed.
 *
 * @param {() => void} changed
 * @returns {() => void} which ends that
 */
export function onScheme(changed) {
  dark.addEventListener("change", changed);
  return () => dark.removeEventListener("change", changed);
}

/**
 * Fit the pixels of a canvas to a size on the page, and wipe it.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {number} width  CSS pixels
 * @param {number} height
 * @returns {CanvasRenderingContext2D} that draws in CSS pixels
 */
function wiped(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const [columns, lines] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== columns || canvas.height !== lines) {
    canvas.width = columns;
    canvas.height = lines;
  } else {
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, columns, lines);
  }
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

/**
 * Draw the last values as a line, the newest at the right; a flat line lies in the middle, or at zero.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {Ring} ring
 * @param {{width: number, height: number, color: string, fill?: boolean, fromZero?: boolean}} look
 */
export function sparkline(canvas, ring, { width, height, color, fill = false, fromZero = false }) {
  const context = wiped(canvas, width, height);
  let least = fromZero ? 0 : Infinity;
  let most = -Infinity;
  for (let index = 0; index < ring.length; index += 1) {
    const value = ring.at(index);
    if (value < least) least = value;
    if (value > most) most = value;
  }
  if (!(most >= least)) return;
  const inset = 2;
  const scale = most > least ? (height - 2 * inset) / (most - least) : 0;
  const base = scale || fromZero ? height - inset : height / 2;
  const step = width / (ring.capacity - 1);
  const left = width - (ring.length - 1) * step;
  context.lineWidth = 1.5;
  context.lineJoin = "round";
  context.strokeStyle = color;
  context.beginPath();
  let start = NaN; // of the piece under way: NaN values are gaps
  for (let index = 0; index < ring.length; index += 1) {
    const value = ring.at(index);
    if (Number.isNaN(value)) {
      start = NaN;
      continue;
    }
    const x = left + index * step;
    const y = base - (value - least) * scale;
    if (Number.isNaN(start)) context.moveTo((start = x), y);
    else context.lineTo(x, y);
  }
  context.stroke();
  if (!fill || Number.isNaN(start)) return;
  context.lineTo(width, height);
  context.lineTo(start, height);
  context.closePath();
  context.globalAlpha = 0.1;
  context.fillStyle = color;
  context.fill();
  context.globalAlpha = 1;
}

/**
 * Draw counts as bars.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {number[]} counts
 * @param {{width: number, height: number, color: string, ground: string}} look
 */
export function bars(canvas, counts, { width, height, color, ground }) {
  const context = wiped(canvas, width, height);
  const most = Math.max(1, ...counts);
  const step = width / counts.length;
  counts.forEach((found, index) => {
    const tall = found ? Math.max(2, (found / most) * (height - 2)) : 1;
    context.fillStyle = found ? color : ground;
    context.fillRect(index * step, height - tall, Math.max(1, step - 2), tall);
  });
}
