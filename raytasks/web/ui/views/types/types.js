/**
 * The view of all task types of this version.
 */
import { html } from "../../lib.js";
import { duration, number, percent } from "../../core/format.js";
import { pause, resume } from "../../core/pausing.js";
import { href } from "../../core/router.js";
import { may } from "../../core/session.js";
import { Empty, Loaded } from "../../parts/conditions.js";
import { ViewHead } from "../../parts/pieces.js";
import { useTypes } from "./loading_types.js";
import { kindText, limitText } from "./policy.js";

function Pausing({ name, paused, reload }) {
  const scope = { task_type: name, namespace: null };
  const act = paused ? resume : pause;
  return html`<td><button type="button" class="small" aria-label=${`${paused ? "Resume" : "Pause"} ${name}`}
    onClick=${async () => { if (await act(scope)) reload(); }}>${paused ? "Resume" : "Pause…"}</button></td>`;
}

function Row({ type, stats, pauses, reload }) {
  const { task_type: name } = type;
  const counts = stats.counts.by_type[name] ?? {};
  const hour = stats.by_type[name]?.hour;
  const waiting = (counts.PENDING ?? 0) + (counts.RETRYING ?? 0);
  return html`<tr>
    <td><a href=${href(`/types/${name}`)}>${name}</a></td>
    <td>${type.description.split("\n")[0]}</td>
    <td>${kindText(type)}</td>
    <td class="num">${number(type.retry.max_attempts)}</td>
    <td class="num">${limitText(type.timeout_seconds)}</td>
    <td class="num">${number(waiting)}</td>
    <td class="num">${number(counts.RUNNING ?? 0)}</td>
    <td class="num">${number(hour?.completed ?? 0)}</td>
    <td class="num">${percent(hour?.failure_rate)}</td>
    <td class="num">${duration(hour?.run_time?.p95)}</td>
    ${pauses && html`<${Pausing} name=${name} paused=${pauses.has(name)} reload=${reload} />`}</tr>`;
}

function TypesView() {
  const found = useTypes();
  return html`<${ViewHead} title="Types">${found.data && html`<span class="muted num">${number(found.data.types.length)} task types</span>`}</>
    <${Loaded} of=${found} what="types">${({ types, stats, pauses }) => (types.length === 0
      ? html`<${Empty} title="No handler"><p>This version of the service has none. They come from the modules that <code>RAYTASKS_TASK_MODULES</code> names, or from the folder <code>handlers/</code>.</p></>`
      : html`<div class="scroll" tabindex="0" role="region" aria-label="Task types"><table class="types">
        <thead><tr><th class="c-type">Type</th><th>What it does</th><th class="c-kind">Run as</th><th class="num">Attempts</th><th class="num">Time limit</th>
          <th class="num">Waiting</th><th class="num">Running</th>
          <th class="num" title="In the last hour">Completed</th><th class="num" title="Of those that ended in the last hour">Failed</th>
          <th class="num" title="95 % of the attempts in the last hour ran up to this long">Ran</th>
          ${pauses && html`<th>Act</th>`}</tr></thead>
        <tbody>${types.map((type) => html`<${Row} key=${type.task_type} type=${type} stats=${stats} pauses=${pauses} reload=${found.reload} />`)}</tbody></table></div>`)}</>`;
}

/** The view. */
export const types = { path: "/types", title: "Types", key: "y", allowed: () => may("read"), View: TypesView };
