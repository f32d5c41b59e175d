/**
 * The figures as they are now: tasks by state and type, and how the last hour or day went.
 */
import { html } from "../../lib.js";
import { duration, number, percent, rate } from "../../core/format.js";
import { href, place, setQuery } from "../../core/router.js";
import { STATES } from "../../core/states.js";
import { Fact } from "../../parts/pieces.js";

const SHOWN = 30; // types, until one asks for all

/** How many tasks are in each state, each a link to them. */
export function Counts({ stats, taskType }) {
  const counts = taskType ? stats.counts.by_type[taskType] ?? {} : stats.counts.by_state;
  return html`<nav class="counts" aria-label="Tasks by state">${STATES.map((state) => html`<a class="tile" data-state=${state}
    href=${href("/tasks", { state: [state], task_type: taskType })}><span class="name">${state}</span>
    <span class="num">${number(counts[state] ?? 0)}</span></a>`)}</nav>`;
}

/** How the window went. */
export function Went({ window: seen, over }) {
  return html`<section class="panel"><h2>The last ${over}</h2><dl class="facts close">
    <${Fact} name="Completed"><span class="num">${number(seen?.completed ?? 0)}</span></>
    <${Fact} name="Failed"><span class="num">${number(seen?.failed ?? 0)}</span></>
    <${Fact} name="Share that failed"><span class="num">${percent(seen?.failure_rate)}</span></>
    <${Fact} name="Ended per minute"><span class="num">${rate((seen?.per_second ?? 0) * 60)}</span></>
    <${Fact} name="Half waited up to"><span class="num">${duration(seen?.queue_wait?.p50)}</span></>
    <${Fact} name="95 % waited up to"><span class="num">${duration(seen?.queue_wait?.p95)}</span></>
    <${Fact} name="Half ran up to"><span class="num">${duration(seen?.run_time?.p50)}</span></>
    <${Fact} name="95 % ran up to"><span class="num">${duration(seen?.run_time?.p95)}</span></>
  </dl></section>`;
}

function Count({ type, state, count }) {
  if (!count) return html`<td class="num muted">0</td>`;
  return html`<td class="num"><a href=${href("/tasks", { state: [state], task_type: type })}>${number(count)}</a></td>`;
}

function TypeRow({ type, counts, window: seen }) {
  return html`<tr><td><a href=${href("/overview", { task_type: type, over: place.value.query.get("over") })}>${type}</a></td>
    ${STATES.map((state) => html`<${Count} type=${type} state=${state} count=${counts[state]} />`)}
    <td class="num">${percent(seen?.failure_rate)}</td>
    <td class="num">${rate((seen?.per_second ?? 0) * 60)}</td>
    <td class="num">${duration(seen?.queue_wait?.p95)}</td>
    <td class="num">${duration(seen?.run_time?.p95)}</td></tr>`;
}

/** The types that have tasks, with their counts and how they went. */
export function ByType({ stats, over }) {
  const { by_type: counts } = stats.counts;
  const names = [...new Set([...Object.keys(counts), ...Object.keys(stats.by_type)])].sort();
  const all = place.value.query.get("types") === "all";
  const shown = all ? names : names.slice(0, SHOWN);
  return html`<section class="list"><h2>By type</h2>
    <div class="scroll" tabindex="0" role="region" aria-label="Tasks by type"><table class="by-type">
    <thead><tr><th>Type</th>${STATES.map((state) => html`<th class="num">${state}</th>`)}
      <th class="num" title=${`Of those that ended in the last ${over}`}>Failed</th><th class="num" title=${`In the last ${over}`}>Per minute</th>
      <th class="num" title=${`95 % of the attempts in the last ${over} waited up to this long`}>Waited</th><th class="num" title=${`95 % of the attempts in the last ${over} ran up to this long`}>Ran</th></tr></thead>
    <tbody>${shown.map((name) => html`<${TypeRow} key=${name} type=${name} counts=${counts[name] ?? {}} window=${stats.by_type[name]?.[over]} />`)}</tbody></table></div>
    ${names.length > SHOWN && html`<p><button type="button" class="small" aria-expanded=${all ? "true" : "false"}
      onClick=${() => setQuery({ types: all ? null : "all" })}>${all ? `Only the first ${SHOWN}` : `All ${number(names.length)} types`}</button></p>`}</section>`;
}
