import { palette } from "./draw.js";
import { clock, number } from "./format.js";

/**
 * uPlot, in the page's colours.
 *
 * @typedef {typeof import("/vendor/uplot.js")} UPlot
 * @typedef {object} Look
 * @property {string[]} names  of the lines
 * @property {boolean} isTime  whether x is unix seconds, else a position
 * @property {number[]} [colors]  series colours of the lines by number; default: their own
 * @property {(value: number) => string} [format]  of a value in the legend and at the axis
 * @property {(least: number, most: number) => [number, number]} [range]  of y
 */

const HEIGHT = 200;
export const STRIP_SECONDS = 60;
const LEAST_SECONDS = 10;

/** @type {Promise<UPlot | null> | null} */
let loading = null;

/** @returns {Promise<UPlot | null>} null where uPlot is not installed */
export function loadCharts() {
  loading ??= import("/vendor/uplot.js").then(
    ({ default: uPlot }) => {
      const sheet = document.createElement("link");
      sheet.rel = "stylesheet";
      sheet.href = "/vendor/uplot.css";
      document.head.prepend(sheet); // before app.css, which has the last word
      return uPlot;
    },
    () => null,
  );
  return loading;
}

/** A chart that fills the width of its place. */
export class Chart {
  /**
   * @param {UPlot} uPlot
   * @param {HTMLElement} place
   * @param {Look} look
   */
  constructor(uPlot, place, look) {
    this.uPlot = uPlot;
    this.place = place;
    this.look = look;
    /** @type {(number | null)[][]} */
    this.data = [[], ...look.names.map(() => [])];
    this.width = place.clientWidth;
    this.plot = this.#make();
    this.observer = new ResizeObserver(([entry]) => {
      const width = Math.floor(entry.contentRect.width);
      if (width === this.width || !width) return;
      this.width = width;
      this.plot.setSize({ width, height: HEIGHT });
    });
    this.observer.observe(place);
  }

  /** @param {(number | null)[][]} data  xs, then the ys of each line */
  show(data) {
    this.data = data;
    const { plot } = this;
    plot.setData(/** @type {any} */ (data));
    const last = data[0].length - 1;
    if (last >= 0 && (plot.cursor.left ?? -1) < 0) plot.setLegend({ idx: last });
  }

  /** Take the colours of another scheme. */
  repaint() {
    this.plot.destroy();
    this.plot = this.#make();
    this.show(this.data);
  }

  destroy() {
    this.observer.disconnect();
    this.plot.destroy();
  }

  #make() {
    const { names, isTime, colors, format, range } = this.look;
    const { muted, line, series, surface } = palette();
    const axis = {
      stroke: muted,
      font: "11px system-ui, sans-serif",
      grid: { stroke: line, width: 1 },
      ticks: { show: false },
    };
    /** @param {number | null | undefined} value */
    const position = (value) => (value == null ? "–" : isTime ? clock(value) : String(value));
    const ticks = format ?? ((/** @type {number} */ value) => String(Number(value.toPrecision(6))));
    /** @type {any} */
    const options = {
      width: this.width,
      height: HEIGHT,
      padding: [8, 14, 0, 0],
      legend: { markers: { width: 0, fill: (/** @type {any} */ plot, /** @type {number} */ at) => plot.series[at].stroke() } },
      cursor: { drag: { x: false, y: false }, points: { fill: surface } },
      scales: {
        x: { time: false, ...(isTime && { range: (/** @type {unknown} */ _, /** @type {number} */ __, /** @type {number} */ end) => stretch(this.data[0], end) }) },
        y: { range: (/** @type {unknown} */ _, /** @type {number} */ least, /** @type {number} */ most) => bounds(least, most, range) },
      },
      axes: [
        { ...axis, size: 28, space: isTime ? 84 : 50, values: (/** @type {unknown} */ _, /** @type {number[]} */ at) => at.map(position) },
        { ...axis, size: 56, values: (/** @type {unknown} */ _, /** @type {number[]} */ at) => at.map(ticks) },
      ],
      series: [
        { label: isTime ? "Time" : "Position", value: (/** @type {unknown} */ _, /** @type {number} */ at) => position(at) },
        ...names.map((label, index) => ({
          label,
          stroke: series[(colors?.[index] ?? index) % series.length],
          width: 1.5,
          points: { show: false },
          value: (/** @type {unknown} */ _, /** @type {number | null} */ value) => (value == null ? "–" : (format ?? number)(value)),
        })),
      ],
    };
    return new this.uPlot(options, /** @type {any} */ (this.data), this.place);
  }
}

/**
 * The last minute, or what there is of it so far.
 *
 * @param {(number | null)[]} times
 * @param {number} end
 * @returns {[number, number]}
 */
function stretch(times, end) {
  return [Math.max(end - STRIP_SECONDS, Math.min(times[0] ?? end, end - LEAST_SECONDS)), end];
}

/**
 * @param {number | null} least  null where there is nothing yet
 * @param {number | null} most
 * @param {Look["range"]} range
 * @returns {[number, number]}
 */
function bounds(least, most, range) {
  if (least == null || most == null) return [0, 1];
  if (range) return range(least, most);
  const room = (most - least) * 0.08 || Math.abs(most) * 0.1 || 1;
  return [least - room, most + room];
}
