/**
 * The help: the shortcuts that work now.
 */
import { html, signal } from "../lib.js";
import { shortcuts, shortcutsOn } from "../core/keyboard.js";
import { Dialog } from "./dialogs.js";
import { Keys } from "./pieces.js";

/** Whether the help is open. */
export const helpOpen = signal(false);

/** The help's dialog, if it is open. */
export function Help() {
  if (!helpOpen.value) return null;
  const close = () => { helpOpen.value = false; };
  return html`<${Dialog} title="Keyboard" onClose=${close}>
    <table class="plain"><tbody>${shortcuts.value.map(({ keys, title }) => html`<tr>
      <td><${Keys} keys=${keys} /></td><td>${title}</td></tr>`)}</tbody></table>
    <label><input type="checkbox" checked=${shortcutsOn.value}
      onChange=${(event) => { shortcutsOn.value = event.target.checked; }} /> Shortcuts are on</label>
    <p class="muted">Two keys: one after the other. They do nothing while you type in a field.</p>
    <p class="buttons"><button type="button" onClick=${close}>Close</button></p></>`;
}
