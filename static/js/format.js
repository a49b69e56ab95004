/** Numbers as people read them. All of these return text of a bounded width, so that nothing moves as it changes. */

const GROUPED = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const NONE = "–";

/**
 * A count or a rate: 7, 7.3, 118, 12,345, 1.23 M.
 *
 * @param {number | null | undefined} value
 * @returns {string}
 */
export function count(value) {
  if (value == null || !Number.isFinite(value)) return NONE;
  const size = Math.abs(value);
  if (size >= 999_999.5) return `${significant(value / 1e6, 3)} M`;
  if (size >= 99.95 || Number.isInteger(value)) return GROUPED.format(value);
  return value.toFixed(1);
}

/**
 * A number of three digits: 0.001, 0.97, 12.3, 1,234, 1.2e-7.
 *
 * @param {number | null | undefined} value
 * @returns {string}
 */
export function number(value) {
  if (value == null || !Number.isFinite(value)) return NONE;
  const size = Math.abs(value);
  if (size >= 1e6 || (size > 0 && size < 5e-4)) return value.toExponential(1);
  if (size >= 999.5) return GROUPED.format(value);
  return size >= 1 ? significant(value, 3) : value.toFixed(3);
}

/**
 * A duration in its own unit: 85 µs, 1.24 ms, 2.10 s.
 *
 * @param {number | null | undefined} ms  milliseconds
 * @returns {[string, string]} number and unit
 */
export function milliseconds(ms) {
  if (ms == null || !Number.isFinite(ms)) return [NONE, "ms"];
  if (ms < 0.9995) return [String(Math.round(ms * 1000)), "µs"];
  return ms < 999.5 ? [significant(ms, 3), "ms"] : [significant(ms / 1000, 3), "s"];
}

/**
 * The same as one text, which has no unit where there is no number.
 *
 * @param {number | null | undefined} ms  milliseconds
 * @returns {string}
 */
export function duration(ms) {
  const [digits, unit] = milliseconds(ms);
  return digits === NONE ? NONE : `${digits} ${unit}`;
}

/**
 * @param {number | null | undefined} bytes
 * @returns {[string, string]} number and unit
 */
export function memory(bytes) {
  if (bytes == null || !Number.isFinite(bytes)) return [NONE, "MB"];
  if (bytes < 999.5e6) return [significant(bytes / 1e6, 3), "MB"];
  return [significant(bytes / 1e9, 3), "GB"];
}

/**
 * How long ago: now, 7 s, 3 min, 2 h, 5 d.
 *
 * @param {number} seconds
 * @returns {string}
 */
export function age(seconds) {
  if (!Number.isFinite(seconds)) return NONE;
  if (seconds < 1) return "now";
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return seconds < 86_400 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86_400)} d`;
}

/**
 * A duration in two units: 12 s, 3 min 20 s, 2 h 5 min, 4 d 3 h.
 *
 * @param {number} seconds
 * @returns {string}
 */
export function uptime(seconds) {
  const s = Math.floor(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

/**
 * The time of day, as the reader's clock shows it.
 *
 * @param {number} ts  unix seconds
 * @returns {string}
 */
export function clock(ts) {
  return new Date(ts * 1000).toLocaleTimeString([], { hour12: false });
}

/**
 * @param {number} value
 * @param {number} digits
 * @returns {string} without an exponent
 */
function significant(value, digits) {
  const whole = Math.max(1, Math.floor(Math.log10(Math.abs(value) || 1)) + 1);
  return value.toFixed(Math.max(0, digits - whole));
}
