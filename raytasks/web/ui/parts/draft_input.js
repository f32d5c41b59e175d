/**
 * A text field whose value comes from elsewhere, and is taken over when one has finished.
 *
 * What one types stays while the view is drawn again, as live views are at any moment.
 */
import { html, useState } from "../lib.js";

/** The field. `onChange` is called as by an `<input>`: what is not valid stays as it was typed. */
export function DraftInput({ value, onChange, ...props }) {
  const [draft, setDraft] = useState(null);
  const change = (event) => {
    onChange(event);
    if (event.target.checkValidity()) setDraft(null);
  };
  return html`<input ...${props} value=${draft ?? value}
    onInput=${(event) => setDraft(event.target.value)} onChange=${change} />`;
}
