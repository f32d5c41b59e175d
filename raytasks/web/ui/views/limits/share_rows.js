/**
 * The namespaces: their shares of run time, the bounds of their backlogs, and what is in them.
 */
import { html, useState } from "../../lib.js";
import { ask } from "../../core/api.js";
import { number } from "../../core/format.js";
import { attempt } from "../../core/notices.js";
import { pause } from "../../core/pausing.js";
import { SettingForm } from "../../parts/setting_form.js";

function pathOf({ name }) {
  return `/namespaces/${name}`;
}

function Share({ space, change, reload }) {
  const { name, weight, max_backlog: most, by_state: counts } = space;
  const isSet = weight !== 1 || most !== null;
  const clear = async () => {
    if (await attempt(() => ask("DELETE", pathOf(space)), `${name} has the usual share`)) reload();
  };
  const stop = async () => { if (await pause({ task_type: null, namespace: name })) reload(); };
  return html`<tr><td>${name}</td><td class="num">${weight}</td>
    <td class="num">${most === null ? html`<span class="muted">–</span>` : number(most)}</td>
    <td class="num">${number((counts.PENDING ?? 0) + (counts.RETRYING ?? 0))}</td><td class="num">${number(counts.RUNNING ?? 0)}</td>
    <td class="nowrap"><button type="button" class="small" aria-label=${`Set ${name}`} onClick=${() => change(space)}>Set…</button>
      ${isSet && html` <button type="button" class="small" aria-label=${`Clear ${name}`} onClick=${clear}>Clear</button>`}
      ${" "}<button type="button" class="small" aria-label=${`Pause ${name}`} onClick=${stop}>Pause…</button></td></tr>`;
}

/** The namespaces. */
export function Shares({ namespaces, reload }) {
  const [changed, change] = useState(null);
  const close = () => { change(null); reload(); };
  return html`<section class="list"><h2>Namespaces</h2>
    <div class="scroll" tabindex="0" role="region" aria-label="Namespaces"><table class="shares">
    <thead><tr><th>Namespace</th><th class="num" title="Its share of run time beside the others">Weight</th>
      <th class="num" title="How many of its tasks may wait">Max backlog</th>
      <th class="num">Waiting</th><th class="num">Running</th><th>Act</th></tr></thead>
    <tbody>${namespaces.map((space) => html`<${Share} key=${space.name} space=${space} change=${change} reload=${reload} />`)}</tbody></table></div>
    ${changed && html`<${SettingForm} title=${`The namespace ${changed.name}`} text="An empty field has its default: the weight 1, and no bound." path=${pathOf(changed)}
      fields=${[{ name: "weight", label: "Weight", value: changed.weight }, { name: "max_backlog", label: "How many tasks may wait", value: changed.max_backlog, step: 1 }]}
      done=${`${changed.name} is set`} onClose=${close} />`}</section>`;
}
