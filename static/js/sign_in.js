/** The dialog that asks for a credential; what is typed into it leaves the page together with it. */

import { el, put } from "./dom.js";

/** @typedef {import("./account.js").Account} Account */

/**
 * @param {Account} account
 * @returns {{open: () => void, close: () => void}}
 */
export function buildSignIn(account) {
  /** @type {HTMLDialogElement | null} */
  let dialog = null;
  const close = () => {
    const gone = dialog;
    dialog = null;
    gone?.close();
    gone?.remove();
  };
  return {
    open() {
      close();
      const mine = (dialog = dialogOf(account));
      document.body.append(mine);
      mine.showModal();
      mine.addEventListener("cancel", (event) => event.preventDefault()); // there is nothing behind it
      mine.addEventListener("close", () => mine === dialog && mine.showModal()); // nor can Escape pressed twice
    },
    close,
  };
}

/** @param {Account} account */
function dialogOf(account) {
  const input = el("input", {
    type: "password",
    id: "credential",
    autocomplete: "off",
    autocapitalize: "none",
    spellcheck: "false",
    "aria-required": "true",
    "aria-describedby": "credential-hint credential-wrong",
    autofocus: true,
  });
  const wrong = el("p", { class: "wrong", id: "credential-wrong", role: "alert" });
  const submit = el("button", { class: "primary" }, "Sign in");
  const form = el(
    "form",
    { novalidate: true },
    el("h2", { id: "sign-in" }, "Sign in"),
    el("p", {}, "This server needs an API key or a token."),
    el(
      "div",
      { class: "field" },
      el("label", { for: "credential" }, "API key or token"),
      input,
      el("p", { class: "hint", id: "credential-hint" }, "This tab keeps it until you sign out or close it."),
    ),
    wrong,
    el("div", { class: "buttons" }, submit),
  );
  /** @param {string} message */
  const tell = (message) => {
    put(wrong, message && sentence(message));
    wrong.hidden = !message;
    if (message) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
  };
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (submit.disabled) return;
    tell("");
    submit.disabled = true;
    try {
      await account.signIn(input.value);
      input.value = "";
    } catch (error) {
      tell(error instanceof Error ? error.message : String(error));
      input.focus();
      input.select();
    }
    submit.disabled = false;
  });
  tell(account.reason);
  return el("dialog", { class: "card", "aria-labelledby": "sign-in" }, form);
}

/** @param {string} text */
function sentence(text) {
  const whole = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}
