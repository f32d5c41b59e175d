/**
 * The pools: how many runners each has and may have, and what waits for them.
 */
import { html, useState } from "../../lib.js";
import { ask } from "../../core/api.js";
import { number, wholeDuration } from "../../core/format.js";
import { attempt } from "../../core/notices.js";
import { href } from "../../core/router.js";
import { Empty } from "../../parts/conditions.js";
import { SettingForm } from "../../parts/setting_form.js";
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

function pathOf({ name }) {
  return `/pools/${encodeURIComponent(name)}`;
}

function range([least, most]) {
  return `${number(least)} – ${number(most)}`;
}

/** The sizes in force, and the declared ones where others are set. */
function Sizes({ pool: { min_runners: least, max_runners: most, declared, override } }) {
  const sizes = override ? override.runners : [least, most];
  return html`${sizes[0] === null ? "–" : range(sizes)}
    ${override && html`<br /><span class="muted nowrap">set by ${override.by}${declared && `; declared ${range(declared.runners)}`}</span>`}`;
}

function Act({ pool, change, reload }) {
  const { name, declared, override, task_types: types } = pool;
  const clear = async () => {
    if (await attempt(() => ask("DELETE", pathOf(pool)), `${name} is as declared`)) reload();
  };
  return html`<td class="nowrap">${types.length > 0 && name !== "remote" && html`<button type="button" class="small" aria-label=${`Set ${name}`} onClick=${() => change(pool)}>Set…</button>`}
    ${override && html` <button type="button" class="small" aria-label=${`Clear ${name}`} onClick=${clear}>Clear</button>`}</td>`;
}

function Pool({ pool, change, reload }) {
  const reserved = Object.entries(pool.resources).map(([name, amount]) => resourceText(name, amount));
  return html`<tr>
    <td><a href=${href("/runners", { pool: pool.name })}>${pool.name}</a></td>
    ${Object.keys(STATES).map((state) => html`<td class="num">${number(pool.states[state])}</td>`)}
    <td class="num"><${Sizes} pool=${pool} /></td>
    <td class="num">${number(pool.backlog)}</td>
    <td class="num">${pool.oldest_due_seconds === null ? "–" : wholeDuration(pool.oldest_due_seconds)}</td>
    <td class="nowrap">${reserved.length > 0 ? reserved.join(", ") : html`<span class="muted">nothing</span>`}</td>
    <td><${Failing} failing=${pool.failing} />
      <${Types} types=${pool.task_types} /></td>
    ${reload && html`<${Act} pool=${pool} change=${change} reload=${reload} />`}</tr>`;
}

function SizesForm({ pool, onClose }) {
  const { name, min_runners: min, max_runners: max, declared, override } = pool;
  const [least, most] = override?.runners ?? declared?.runners ?? [min, max];
  return html`<${SettingForm} title=${`The pool ${name}`} text="With 0 as the fewest, the first runner starts with the first task. Runners beyond the most finish what they run."
    path=${pathOf(pool)} fields=${[
      { name: "least", label: "The fewest runners", value: least, step: 1 },
      { name: "most", label: "The most runners", value: most, step: 1, min: 1 },
    ]} bodyOf=${({ least: fewest, most: highest }) => ({ runners: [fewest ?? null, highest ?? null] })}
    done=${`${name} is set`} onClose=${onClose} />`;
}

/** The pools. With `reload`, their sizes can be set. */
export function Pools({ pools, reload }) {
  const [changed, change] = useState(null);
  const close = () => { change(null); reload(); };
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
      <th title="What each runner beyond the least number takes of a node">Reserves</th><th>Task types</th>${reload && html`<th>Act</th>`}</tr></thead>
    <tbody>${pools.map((pool) => html`<${Pool} key=${pool.name} pool=${pool} change=${change} reload=${reload} />`)}</tbody></table></div>
    ${changed && html`<${SizesForm} pool=${changed} onClose=${close} />`}</section>`;
}
