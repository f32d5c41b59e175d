/**
 * A JSON value as it was received, indented. Long ones are cut until one asks for all.
 */
import { html, useState } from "../lib.js";
import { indented } from "../core/json_text.js";
import { size } from "../core/format.js";
import { CopyButton } from "./pieces.js";

const CUT = 20_000; // characters

/** The block for a JSON text; `what` is its name. */
export function JsonBlock({ text, what }) {
  const [whole, setWhole] = useState(false);
  const shown = text.length > 1_000_000 ? text : indented(text);
  const cut = !whole && shown.length > CUT;
  return html`<div class="json">
    <pre tabindex="0" role="region" aria-label=${what}><code>${cut ? shown.slice(0, CUT) : shown}</code></pre>
    <p class="buttons"><${CopyButton} text=${text} what=${what} />
      ${cut && html`<button type="button" class="small" onClick=${() => setWhole(true)}>Show all ${size(text.length)}</button>`}
    </p></div>`;
}
