export const FIRST_MS = 500;
export const LONGEST_MS = 15_000;

/**
 * How long to wait before an attempt: full jitter, so that the pages of a restarted server do not all come at once.
 *
 * @param {number} attempt  how many have failed since the connection last held
 * @param {() => number} [random]  uniform in [0, 1)
 * @returns {number} milliseconds
 */
export function backoff(attempt, random = Math.random) {
  return random() * Math.min(LONGEST_MS, FIRST_MS * 2 ** attempt);
}
