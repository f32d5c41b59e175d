/**
 * Fields whose value is a query value of the place: what one enters changes the URL.
 *
 * A change leads back to the first page of a list, so `cursor` and `seen` go.
 */
import { html, useState } from "../lib.js";
import { setQuery } from "../core/router.js";
import { DraftInput } from "./draft_input.js";

const FROM_START = { cursor: null, seen: null };

/** Changes query values, and goes to the first page. */
export function narrow(changes) {
  setQuery({ ...changes, ...FROM_START });
}

/** A field for a text. What does not fit the `pattern` is not taken. */
export function TextField({ name, label, value, placeholder, pattern }) {
  const change = (event) => {
    if (event.target.checkValidity()) narrow({ [name]: event.target.value.trim() });
  };
  return html`<label class="field">${label}
    <${DraftInput} name=${name} value=${value} placeholder=${placeholder} pattern=${pattern} maxlength="100"
      spellcheck=${false} autocomplete="off" onChange=${change} /></label>`;
}

/** A choice of `choices` (pairs of value and text), or of none of them: the text `all`. */
export function ChoiceField({ name, label, value, all, choices }) {
  const known = value && !choices.some(([item]) => item === value) ? [...choices, [value, value]] : choices;
  return html`<label class="field">${label}
    <select name=${name} value=${value} onChange=${(event) => narrow({ [name]: event.target.value })}>
      <option value="" selected=${!value}>${all}</option>
      ${known.map(([item, text]) => html`<option key=${item} value=${item} selected=${item === value}>${text}</option>`)}
    </select></label>`;
}

/** A box that sets a query value to `value`, or takes it away. */
export function CheckField({ name, label, value, checked }) {
  return html`<label class="check"><input type="checkbox" name=${name} checked=${checked}
    onChange=${(event) => narrow({ [name]: event.target.checked ? value : null })} /> ${label}</label>`;
}

const FIRST_TIME = "1970-01-01T00:00";

const two = (value) => String(value).padStart(2, "0");

/** The value of a local date field, of an RFC 3339 text. */
function toLocal(time) {
  const at = new Date(time);
  if (!time || Number.isNaN(at.getTime())) return "";
  return `${String(at.getFullYear()).padStart(4, "0")}-${two(at.getMonth() + 1)}-${two(at.getDate())}T${two(at.getHours())}:${two(at.getMinutes())}`;
}

/**
 * A field for a local time. The URL has it with its time zone.
 *
 * Browsers tell of a change with each digit, and the year 2 is the first of 2026. So the time is taken
 * when one leaves the field, or presses Enter.
 */
export function TimeField({ name, label, value }) {
  const [draft, setDraft] = useState(null);
  const take = ({ target }) => {
    if (draft === null || !target.checkValidity()) return;
    setDraft(null);
    if (draft === toLocal(value)) return;
    narrow({ [name]: draft ? new Date(draft).toISOString().replace(".000", "") : null });
  };
  return html`<label class="field">${label}
    <input type="datetime-local" name=${name} value=${draft ?? toLocal(value)} min=${FIRST_TIME}
      onInput=${(event) => setDraft(event.target.value)} onBlur=${take}
      onKeyDown=${(event) => event.key === "Enter" && take(event)} /></label>`;
}
