/**
 * The pools: how many runners each has and may have, and what waits for them.
 */
import { html } from "../../lib.js";
import { number, wholeDuration } from "../../core/format.js";
import { href } from "../../core/router.js";
import { Empty } from "../../parts/conditions.js";
import { resourceText } from "./resources.js";

const STATES = { busy: "Busy", idle: "Idle", starting: "Starting", leaving: "Leaving" };

function Types({ types }) {
  return types.map((name) => html`<a class="tag" href=${href("/tasks", { task_type: name })}>${name}</a>`);
}

function Failing({ failing }) {
  if (!failing) return null;
  const starts = failing.tries === 1 ? "1 failed start" : `${number(failing.tries)} failed starts in a row`;
  return html`<p class="error-text">${starts}: ${failing.error}</p>`;
}

function Pool({ pool }) {
  const reserved = Object.entries(pool.resources).map(([name, amount]) => resourceText(name, amount));
  return html`<tr>
    <td><a href=${href("/runners", { pool: pool.name })}>${pool.name}</a></td>
    ${Object.keys(STATES).map((state) => html`<td class="num">${number(pool.states[state])}</td>`)}
    <td class="num">${pool.min_runners === null ? "–" : `${number(pool.min_runners)} – ${number(pool.max_runners)}`}</td>
    <td class="num">${number(pool.backlog)}</td>
    <td class="num">${pool.oldest_due_seconds === null ? "–" : wholeDuration(pool.oldest_due_seconds)}</td>
    <td class="nowrap">${reserved.length > 0 ? reserved.join(", ") : html`<span class="muted">nothing</span>`}</td>
    <td><${Failing} failing=${pool.failing} />
      <${Types} types=${pool.task_types} /></td></tr>`;
}

/** The pools. */
export function Pools({ pools }) {
  if (pools.length === 0) {
    return html`<${Empty} title="No pool yet"><p>Pools come with the handlers: the service is starting,
      or <a href=${href("/runners", { versions: "all" })}>no version of the handlers</a> has passed its trial.</p></>`;
  }
  return html`<section class="list"><h2>Pools</h2>
    <div class="scroll" tabindex="0" role="region" aria-label="Pools"><table class="pools">
    <thead><tr><th>Pool</th>${Object.values(STATES).map((title) => html`<th class="num">${title}</th>`)}
      <th class="num" title="The least and the most runners that the pool may have">Bounds</th>
      <th class="num" title="All waiting tasks of its types, also those that are not due">Waiting</th>
      <th class="num" title="How long the oldest due task has waited">Oldest due</th>
      <th title="What each runner beyond the least number takes of a node">Reserves</th><th>Task types</th></tr></thead>
    <tbody>${pools.map((pool) => html`<${Pool} key=${pool.name} pool=${pool} />`)}</tbody></table></div></section>`;
}
