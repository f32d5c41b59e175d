/**
 * A form of fields that hold JSON, with the errors of the service at those that they are about.
 */
import { html, useRef, useState } from "../lib.js";
import { complain } from "../core/notices.js";
import { jsonErrors, placeOf, sortErrors } from "./form_values.js";
import { SchemaField } from "./schema_field.js";

/**
 * The form. `fields` are those of `form_values.js`, and `start` has their texts by name.
 *
 * `send(values)` returns a promise; its ApiError is shown. `onDone` gets its value, and `onClose` is
 * called if one leaves it. `check(values)` may return errors before anything is sent.
 */
export function JsonForm({ label, fields, start, act, send, onDone, onClose, check = () => [] }) {
  const [values, setValues] = useState(start);
  const [errors, setErrors] = useState([]);
  const [busy, setBusy] = useState(false);
  const form = useRef(null);
  const sorted = sortErrors(errors, fields.map(placeOf));
  const show = (found) => {
    setErrors(found);
    requestAnimationFrame(() => form.current?.querySelector("[aria-invalid=true]")?.focus());
  };
  const submit = async (event) => {
    event.preventDefault();
    if (busy) return;
    const own = [...jsonErrors(fields, values), ...check(values)];
    if (own.length > 0) { show(own); return; }
    setBusy(true);
    try {
      onDone(await send(values));
    } catch (error) {
      if (!("kind" in error)) throw error;
      if (error.errors.length === 0) complain(error);
      show(error.errors);
    } finally {
      setBusy(false);
    }
  };
  return html`<form ref=${form} class="json-form" onSubmit=${submit} aria-label=${label} noValidate=${true}>
    <div class="options">${fields.map((one) => html`<${SchemaField} key=${one.name} field=${one} value=${values[one.name]} problems=${sorted.fields[placeOf(one)]}
      change=${(json) => setValues((known) => ({ ...known, [one.name]: json }))} />`)}</div>
    <div role="alert">${sorted.others.map((text) => html`<p class="error-text">${text}</p>`)}</div>
    <p class="buttons"><button type="button" onClick=${onClose}>Leave it</button>
      <button type="submit" class="primary" aria-disabled=${busy ? "true" : undefined}>${act}</button></p></form>`;
}
