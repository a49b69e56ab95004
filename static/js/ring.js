/** The last values of a series, in place: nothing is allocated as values come. */
export class Ring {
  /** @param {number} capacity */
  constructor(capacity) {
    this.values = new Float64Array(capacity);
    this.capacity = capacity;
    this.length = 0;
    this.next = 0;
  }

  /** @param {number} value */
  push(value) {
    this.values[this.next] = value;
    this.next = (this.next + 1) % this.capacity;
    if (this.length < this.capacity) this.length += 1;
  }

  /**
   * @param {number} index  0 is the oldest, -1 the newest
   * @returns {number} NaN where there is none
   */
  at(index) {
    const from = index < 0 ? this.length + index : index;
    if (from < 0 || from >= this.length) return NaN;
    return this.values[(this.next - this.length + from + this.capacity) % this.capacity];
  }

  clear() {
    this.length = 0;
    this.next = 0;
  }

  /** @returns {number[]} oldest first */
  list() {
    return Array.from({ length: this.length }, (_, index) => this.at(index));
  }
}
