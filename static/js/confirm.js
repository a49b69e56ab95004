/** Ask before something is done to others. */

import { el } from "./dom.js";

/**
 * @param {string} question
 * @param {string} detail
 * @param {string} verb  what the button says that does it
 * @returns {Promise<boolean>}
 */
export function confirmed(question, detail, verb) {
  const cancel = el("button", { type: "button", autofocus: true }, "Cancel");
  const act = el("button", { type: "button", class: "primary" }, verb);
  const dialog = el(
    "dialog",
    { class: "card", role: "alertdialog", "aria-labelledby": "question", "aria-describedby": "question-detail" },
    el("h2", { id: "question" }, question),
    el("p", { id: "question-detail" }, detail),
    el("div", { class: "buttons" }, act, cancel),
  );
  cancel.addEventListener("click", () => dialog.close());
  act.addEventListener("click", () => dialog.close(verb));
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === verb);
    });
  });
}
