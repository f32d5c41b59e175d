/**
 * Dialogs: a question before an act, and the frame that others use.
 *
 * The browser's own `<dialog>` keeps the focus inside, and Escape closes it.
 */
import { html, signal, useLayoutEffect, useRef } from "../lib.js";
import { complain } from "../core/notices.js";

const asked = signal(null);

/**
 * A dialog that is open as long as it is shown, from the first moment on: no key goes past it.
 * `onClose` is called when it is closed.
 */
export function Dialog({ title, onClose, children }) {
  const box = useRef(null);
  const pressed = useRef(null); // a drag out of the dialog, or into it, does not close it
  useLayoutEffect(() => {
    const before = document.activeElement;
    box.current.showModal();
    return () => before?.focus?.();
  }, []);
  return html`<dialog ref=${box} aria-labelledby="dialog-title" onClose=${onClose}
    onMouseDown=${(event) => { pressed.current = event.target; }}
    onMouseUp=${({ target }) => target === box.current && pressed.current === target && onClose()}>
    <div class="dialog"><h2 id="dialog-title">${title}</h2>${children}</div></dialog>`;
}

/**
 * Asks before an act. Resolves to null for no, else to the text of the field (`field` is its
 * label), or to "".
 *
 * One question is open at a time. A further one is not asked: it could get the answer that was meant
 * for the first. A notice says so.
 */
export function confirm({ title, text, act, danger = false, field = null }) {
  if (asked.peek()) {
    complain(new Error(`nothing was done: "${title}" came while another question was open; ask for it again`));
    return Promise.resolve(null);
  }
  return new Promise((resolve) => {
    asked.value = { title, text, act, danger, field, resolve };
  });
}

/** Where questions appear; once in the page. */
export function Questions() {
  const question = asked.value;
  if (!question) return null;
  const answer = (value) => {
    if (asked.peek() !== question) return;
    asked.value = null;
    question.resolve(value);
  };
  const submit = (event) => {
    event.preventDefault();
    answer(event.target.elements.field?.value ?? "");
  };
  return html`<${Dialog} title=${question.title} onClose=${() => answer(null)}>
    <form onSubmit=${submit}>
      ${question.text && html`<p>${question.text}</p>`}
      ${question.field && html`<label class="field">${question.field}
        <input name="field" maxlength="500" autocomplete="off" /></label>`}
      <p class="buttons">
        <button type="button" onClick=${() => answer(null)}>Leave it</button>
        <button type="submit" class=${question.danger ? "danger" : "primary"}>${question.act}</button>
      </p>
    </form></>`;
}
