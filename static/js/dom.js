const MOMENT_MS = 100;

/**
 * Make an element. Text is text whatever it holds; attributes that are `false` or undefined are left out.
 *
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, string | number | boolean | undefined>} [attributes]
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children);
  return element;
}

/**
 * @param {string} id
 * @returns {HTMLElement} which the page has
 */
export function find(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

/**
 * Set a text, unless it is the same: browsers lay out again for less.
 *
 * @param {HTMLElement} element
 * @param {string} text
 */
export function put(element, text) {
  const node = element.firstChild;
  if (!node) element.textContent = text;
  else if (/** @type {Text} */ (node).data !== text) /** @type {Text} */ (node).data = text;
}

/**
 * @param {string} title
 * @param {...(Node | string)} advice
 * @returns {HTMLElement} what stands where nothing is to be shown
 */
export function empty(title, ...advice) {
  return el("div", { class: "empty" }, el("h2", {}, title), el("p", {}, ...advice));
}

/**
 * Have a render at most once per frame, however often it is asked for.
 *
 * @param {() => void} render
 * @returns {{ask: () => void, stop: () => void}}
 */
export function perFrame(render) {
  let pending = 0;
  return {
    ask() {
      pending ||= requestAnimationFrame(() => {
        pending = 0;
        render();
      });
    },
    stop() {
      cancelAnimationFrame(pending);
      pending = -1;
    },
  };
}

/**
 * Have a render ten times a second at most: what is to be read need not come faster.
 *
 * @param {() => void} render
 * @returns {{ask: () => void, stop: () => void}}
 */
export function perMoment(render) {
  let last = -Infinity;
  let timer = 0;
  const frame = perFrame(() => {
    last = performance.now();
    timer = 0;
    render();
  });
  return {
    ask() {
      timer ||= window.setTimeout(frame.ask, Math.max(0, last + MOMENT_MS - performance.now()));
    },
    stop() {
      clearTimeout(timer);
      timer = -1;
      frame.stop();
    },
  };
}
