/**
 * The view of what steers the flow: pauses, limits, and the shares of namespaces.
 */
import { html, useState } from "../../lib.js";
import { ask, get } from "../../core/api.js";
import { number } from "../../core/format.js";
import { useLoad, useRefresh } from "../../core/loading.js";
import { attempt } from "../../core/notices.js";
import { pause, resume, scopeText } from "../../core/pausing.js";
import { href } from "../../core/router.js";
import { mayOperateAll } from "../../core/session.js";
import { Empty, Loaded } from "../../parts/conditions.js";
import { Moment, ViewHead } from "../../parts/pieces.js";
import { SettingForm } from "../../parts/setting_form.js";

const LOOK_SECONDS = 3;
const NAMES = ["limits", "namespaces", "pauses"];

const WHOLE = { task_type: null, namespace: null };

function isWhole({ task_type: type, namespace }) {
  return type === null && namespace === null;
}

function Pause({ item, reload }) {
  const what = scopeText(item);
  return html`<tr><td>${what}${item.drain && " (drained)"}</td>
    <td><${Moment} time=${item.since} /></td>
    <td>${item.until === null ? "somebody resumes it" : html`<${Moment} time=${item.until} />`}</td>
    <td>${item.by}</td><td class="num">${number(item.waiting)}</td>
    <td><button type="button" class="small" aria-label=${`Resume ${what}`}
      onClick=${async () => { if (await resume(item)) reload(); }}>Resume</button></td></tr>`;
}

/** The pauses in force, and the button that pauses everything. */
function Pauses({ pauses, reload }) {
  return html`<section class="list"><h2>Pauses</h2>
    ${pauses.length === 0 ? html`<p class="muted">Nothing is paused.</p>` : html`
    <div class="scroll" tabindex="0" role="region" aria-label="Pauses"><table class="pauses">
    <thead><tr><th>What</th><th class="c-moment">Since</th><th class="c-moment">Until</th><th>By</th>
      <th class="num" title="Tasks that it holds back">Waiting</th><th>Act</th></tr></thead>
    <tbody>${pauses.map((item) => html`<${Pause} key=${`${item.namespace} ${item.task_type}`} item=${item} reload=${reload} />`)}</tbody></table></div>`}
    ${!pauses.some(isWhole) && html`<p><button type="button" onClick=${async () => { if (await pause(WHOLE)) reload(); }}>Pause the whole service…</button></p>`}</section>`;
}

function boundsText(bounds) {
  const { running, rate, per_seconds: period, burst } = bounds;
  const parts = running === null ? [] : [`${number(running)} running`];
  if (rate !== null) parts.push(`${rate} in ${period} s, ${number(burst)} at once`);
  return parts.join("; ");
}

function limitPath({ name }) {
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
    if (await attempt(() => ask("DELETE", limitPath(limit)), `${name} is as declared`)) reload();
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
function Limits({ limits, reload }) {
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
    ${changed && html`<${SettingForm} title=${`The limit ${changed.name}`} text="An empty field is no bound." path=${limitPath(changed)}
      fields=${fieldsOf(changed)} done=${`${changed.name} is set`} onClose=${close} />`}</section>`;
}

function spacePath({ name }) {
  return `/namespaces/${name}`;
}

function Share({ space, change, reload }) {
  const { name, weight, max_backlog: most, by_state: counts } = space;
  const isSet = weight !== 1 || most !== null;
  const clear = async () => {
    if (await attempt(() => ask("DELETE", spacePath(space)), `${name} has the usual share`)) reload();
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
function Shares({ namespaces, reload }) {
  const [changed, change] = useState(null);
  const close = () => { change(null); reload(); };
  return html`<section class="list"><h2>Namespaces</h2>
    <div class="scroll" tabindex="0" role="region" aria-label="Namespaces"><table class="shares">
    <thead><tr><th>Namespace</th><th class="num" title="Its share of run time beside the others">Weight</th>
      <th class="num" title="How many of its tasks may wait">Max backlog</th>
      <th class="num">Waiting</th><th class="num">Running</th><th>Act</th></tr></thead>
    <tbody>${namespaces.map((space) => html`<${Share} key=${space.name} space=${space} change=${change} reload=${reload} />`)}</tbody></table></div>
    ${changed && html`<${SettingForm} title=${`The namespace ${changed.name}`} text="An empty field has its default: the weight 1, and no bound." path=${spacePath(changed)}
      fields=${[{ name: "weight", label: "Weight", value: changed.weight }, { name: "max_backlog", label: "How many tasks may wait", value: changed.max_backlog, step: 1 }]}
      done=${`${changed.name} is set`} onClose=${close} />`}</section>`;
}

/** Loads all three lists. */
async function load(abort) {
  return Object.assign({}, ...(await Promise.all(NAMES.map((name) => get(`/${name}`, {}, abort)))));
}

function LimitsView() {
  const found = useLoad(load);
  useRefresh(LOOK_SECONDS, found);
  return html`<${ViewHead} title="Limits"><span class="muted">What is set here survives restarts and deployments</span></>
    <${Loaded} of=${found} what="the limits">${({ limits, namespaces, pauses }) => html`
      <${Pauses} pauses=${pauses} reload=${found.reload} />
      <${Limits} limits=${limits} reload=${found.reload} />
      <${Shares} namespaces=${namespaces} reload=${found.reload} />`}</>`;
}

/** The view. */
export const limits = { path: "/limits", title: "Limits", key: "i", allowed: mayOperateAll, View: LimitsView };
