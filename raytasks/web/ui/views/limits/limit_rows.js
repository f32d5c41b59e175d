/**
 * The limits: their bounds, what is used of them, and the form that sets them.
 */
import { html, useState } from "../../lib.js";
import { ask } from "../../core/api.js";
import { number } from "../../core/format.js";
import { attempt } from "../../core/notices.js";
import { href } from "../../core/router.js";
import { Empty } from "../../parts/conditions.js";
import { SettingForm } from "../../parts/setting_form.js";

function boundsText(bounds) {
  const { running, rate, per_seconds: period, burst } = bounds;
  const parts = running === null ? [] : [`${number(running)} running`];
  if (rate !== null) parts.push(`${rate} in ${period} s, ${number(burst)} at once`);
  return parts.join("; ");
}

function pathOf({ name }) {
  return `/limits/${encodeURIComponent(name)}`;
}

function fieldsOf({ in_force: bounds, ordered }) {
  const rate = [
    { name: "rate", label: "Begin at most", value: bounds.rate },
    { name: "per_seconds", label: "in how many seconds", value: bounds.per_seconds },
    { name: "burst", label: "of them at once", value: bounds.burst, step: 1, min: 1 },
  ];
  return ordered ? rate : [{ name: "running", label: "Run at a time", value: bounds.running, step: 1, min: 1 }, ...rate];
}

/** The fullest keys of a limit by a value. */
function Keys({ keys }) {
  if (keys.length === 0) return null;
  return html`<details><summary>Fullest values</summary><ul class="keys">${keys.map(({ namespace, value, running, waiting }) => html`<li>
    <code>${JSON.stringify(value)}</code> <span class="muted">in ${namespace}:</span> <span class="num">${number(running)}</span> run, <span class="num">${number(waiting)}</span> wait</li>`)}</ul></details>`;
}

function Limit({ limit, change, reload }) {
  const { name, declared, override, in_force: bounds, types } = limit;
  const clear = async () => {
    if (await attempt(() => ask("DELETE", pathOf(limit)), `${name} is as declared`)) reload();
  };
  return html`<tr><td class="mono">${name}</td>
    <td>${bounds ? boundsText(bounds) : html`<span class="muted">without effect</span>`}${limit.keyed && html` <span class="muted">for each value</span>`}${limit.ordered && html` <span class="muted">in order</span>`}
      <${Keys} keys=${limit.fullest} /></td>
    <td>${declared ? boundsText(declared) : html`<span class="warn">not declared any more</span>`}</td>
    <td>${override ? override.by : html`<span class="muted">–</span>`}</td>
    <td class="num">${number(limit.running)}</td><td class="num">${number(limit.waiting)}</td>
    <td>${types.map((type) => html`<a class="tag" href=${href("/tasks", { task_type: type })}>${type}</a>`)}</td>
    <td class="nowrap">${declared && html`<button type="button" class="small" aria-label=${`Set ${name}`} onClick=${() => change(limit)}>Set…</button>`}
      ${override && html` <button type="button" class="small" aria-label=${`Clear ${name}`} onClick=${clear}>Clear</button>`}</td></tr>`;
}

/** The limits. */
export function Limits({ limits, reload }) {
  const [changed, change] = useState(null);
  const close = () => { change(null); reload(); };
  if (limits.length === 0) {
    return html`<${Empty} title="No limit"><p>No handler of this version declares one: <code>@handler(…, limits=[Limit("smtp", running=20)])</code>.</p></>`;
  }
  return html`<section class="list"><h2>Limits</h2>
    <div class="scroll" tabindex="0" role="region" aria-label="Limits"><table class="limits">
    <thead><tr><th>Limit</th><th>In force</th><th>Declared</th><th title="Who has set other bounds than the declared ones">Set by</th>
      <th class="num">Running</th><th class="num">Waiting</th><th>Task types</th><th>Act</th></tr></thead>
    <tbody>${limits.map((limit) => html`<${Limit} key=${limit.name} limit=${limit} change=${change} reload=${reload} />`)}</tbody></table></div>
    ${changed && html`<${SettingForm} title=${`The limit ${changed.name}`} text="An empty field is no bound." path=${pathOf(changed)}
      fields=${fieldsOf(changed)} done=${`${changed.name} is set`} onClose=${close} />`}</section>`;
}
