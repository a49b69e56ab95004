import { empty } from "./dom.js";

/** @type {import("./types.js").Mount} */
export function mount(root) {
  root.append(empty("Soon"));
  return () => {};
}
