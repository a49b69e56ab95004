/** What can be watched, and the patterns that choose among it, as the server reads them (docs/protocol.md). */

export const EVERY_STREAM = "*/*";

/**
 * @param {string} glob  in which `*` stands for any run of characters
 * @param {string} text
 * @returns {boolean}
 */
export function matches(glob, text) {
  const [first, ...middle] = glob.split("*");
  const last = middle.pop();
  if (last === undefined) return text === first;
  if (text.length < first.length + last.length || !text.startsWith(first) || !text.endsWith(last)) return false;
  const end = text.length - last.length;
  let at = first.length;
  for (const part of middle) {
    at = text.indexOf(part, at);
    if (at < 0 || at + part.length > end) return false;
    at += part.length;
  }
  return true;
}

/**
 * @param {string} pattern  `{model}/{key}`, either with `*`; or the name of one of the server's own topics
 * @param {string} topic
 * @returns {boolean}
 */
export function fits(pattern, topic) {
  const [glob, text] = [halves(pattern), halves(topic)];
  if (!glob || !text) return pattern === topic;
  return matches(glob[0], text[0]) && matches(glob[1], text[1]);
}

/**
 * @param {string} topic
 * @returns {[string, string] | null} model and key; null: one of the server's own
 */
export function halves(topic) {
  const slash = topic.indexOf("/");
  return slash < 0 ? null : [topic.slice(0, slash), topic.slice(slash + 1)];
}
