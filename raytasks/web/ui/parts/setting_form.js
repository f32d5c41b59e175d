/**
 * A dialog with the fields of a setting: numbers, each of which may be left empty.
 *
 * The fields keep what one types while the view below is drawn again: `value` would set them back.
 */
import { html } from "../lib.js";
import { ask } from "../core/api.js";
import { attempt } from "../core/notices.js";
import { Dialog } from "./dialogs.js";

/** Returns the fields that are not empty, as numbers. */
function valuesOf(form, fields) {
  const values = fields.map(({ name }) => [name, form.elements[name].value.trim()]);
  return Object.fromEntries(values.filter(([, text]) => text !== "").map(([name, text]) => [name, Number(text)]));
}

/**
 * The dialog. It sends `PUT path` with all `fields` (`{name, label, value, step, min}`), and closes
 * when that was done; what the service refuses stays to be mended. `bodyOf` makes the body of the
 * fields that are not empty; by default they are the body.
 */
export function SettingForm({ title, text, path, fields, done, onClose, bodyOf = (values) => values }) {
  const submit = async (event) => {
    event.preventDefault();
    const body = bodyOf(valuesOf(event.target, fields));
    if (await attempt(() => ask("PUT", path, { body }), done)) onClose();
  };
  return html`<${Dialog} title=${title} onClose=${onClose}><form onSubmit=${submit}>
    ${text && html`<p>${text}</p>`}
    ${fields.map(({ name, label, value, step = "any", min = 0 }) => html`<label class="field" key=${name}>${label}
      <input type="number" name=${name} step=${step} min=${min} defaultValue=${value ?? ""} autocomplete="off" /></label>`)}
    <p class="buttons"><button type="button" onClick=${onClose}>Leave it</button>
      <button type="submit" class="primary">Set</button></p></form></>`;
}
