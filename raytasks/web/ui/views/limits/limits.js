/**
 * The view of what steers the flow: pauses, limits, and the shares of namespaces.
 */
import { html } from "../../lib.js";
import { get } from "../../core/api.js";
import { number } from "../../core/format.js";
import { useEvery, useLoad } from "../../core/loading.js";
import { pause, resume, scopeText } from "../../core/pausing.js";
import { mayOperateAll } from "../../core/session.js";
import { Loaded } from "../../parts/conditions.js";
import { Moment, ViewHead } from "../../parts/pieces.js";
import { Limits } from "./limit_rows.js";
import { Shares } from "./share_rows.js";

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

/** Loads all three lists. */
async function load(abort) {
  return Object.assign({}, ...(await Promise.all(NAMES.map((name) => get(`/${name}`, {}, abort)))));
}

function LimitsView() {
  const found = useLoad(load);
  useEvery(LOOK_SECONDS, found.reload);
  return html`<${ViewHead} title="Limits"><span class="muted">What is set here survives restarts and deployments</span></>
    <${Loaded} of=${found} what="the limits">${({ limits, namespaces, pauses }) => html`
      <${Pauses} pauses=${pauses} reload=${found.reload} />
      <${Limits} limits=${limits} reload=${found.reload} />
      <${Shares} namespaces=${namespaces} reload=${found.reload} />`}</>`;
}

/** The view. */
export const limits = { path: "/limits", title: "Limits", key: "i", allowed: mayOperateAll, View: LimitsView };
