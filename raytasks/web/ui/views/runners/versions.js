/**
 * The versions of the handlers, with the results of their trials, and what each has changed.
 */
import { html } from "../../lib.js";
import { number } from "../../core/format.js";
import { place, setQuery } from "../../core/router.js";
import { Badge, Moment } from "../../parts/pieces.js";

const TONES = { passed: "good", failed: "bad", trial: "warn" };
const SHOWN = 5;

/** What a version declares otherwise than the one before; an earlier service does not say. */
function Changes({ changes }) {
  if (!changes) return null;
  const parts = ["added", "gone", "changed"].filter((name) => changes[name].length > 0);
  const text = parts.map((name) => `${name}: ${changes[name].join(", ")}`).join("; ");
  return html`<br /><span class="muted">${text || `declares the same as ${changes.since}`}</span>`;
}

function Version({ version }) {
  const { error, task_types: types } = version;
  return html`<tr>
    <td class="num">${version.number}</td>
    <td class="nowrap"><${Badge} tone=${TONES[version.state]}>${version.state}</>${version.in_force && html` <strong>in force</strong>`}</td>
    <td><${Moment} time=${version.seen_at} /></td>
    <td class="mono">${version.generation}</td>
    <td>${error ? html`<span class="error-text">${error}</span>` : types
      ? html`<span title=${types.join(", ")}>${number(types.length)} task ${types.length === 1 ? "type" : "types"}</span>`
      : html`<span class="muted">–</span>`}<${Changes} changes=${version.changes} /></td></tr>`;
}

/** The newest versions; all that the service tells of, if the URL says so. */
export function Versions({ versions }) {
  if (versions.length === 0) return null;
  const all = place.value.query.get("versions") === "all";
  const shown = all ? versions : versions.slice(0, SHOWN);
  return html`<section class="list"><h2>Versions of the handlers</h2>
    <div class="scroll" tabindex="0" role="region" aria-label="Versions of the handlers"><table class="versions">
    <thead><tr><th class="num c-version">Version</th><th class="c-name">Trial</th><th class="c-moment">Seen</th>
      <th class="c-name">Generation</th><th>Task types, or why it was refused</th></tr></thead>
    <tbody>${shown.map((version) => html`<${Version} key=${version.number} version=${version} />`)}</tbody></table></div>
    ${versions.length > SHOWN && html`<p><button type="button" class="small" aria-expanded=${all ? "true" : "false"}
      onClick=${() => setQuery({ versions: all ? null : "all" })}>${all ? `Only the newest ${SHOWN}` : `All ${number(versions.length)}`}</button></p>`}</section>`;
}
