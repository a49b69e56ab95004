/** The last seconds of a few lines, as uPlot wants them: xs, then the ys of each. */
export class History {
  /**
   * @param {number} lines
   * @param {number} seconds
   */
  constructor(lines, seconds) {
    this.seconds = seconds;
    /** @type {(number | null)[][]} */
    this.data = Array.from({ length: lines + 1 }, () => []);
  }

  /**
   * @param {number} ts  unix seconds; what is not later than the last is left out
   * @param {number[]} values  one per line
   */
  push(ts, values) {
    const [times] = this.data;
    const last = times.at(-1);
    if (last != null && ts <= last) return;
    times.push(ts);
    values.forEach((value, line) => this.data[line + 1].push(Number.isFinite(value) ? value : null));
    let old = 0;
    while (/** @type {number} */ (times[old]) < ts - this.seconds) old += 1;
    if (old * 4 > times.length) for (const column of this.data) column.splice(0, old);
  }

  /**
   * Break the lines: what follows is another stretch.
   */
  break() {
    const [times, ...lines] = this.data;
    const last = times.at(-1);
    if (last == null || lines[0]?.at(-1) === null) return;
    times.push(last + 1e-3);
    for (const line of lines) line.push(null);
  }
}
