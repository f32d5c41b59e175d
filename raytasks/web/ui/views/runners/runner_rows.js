/**
 * The runners, and the attempts that each holds.
 */
import { html } from "../../lib.js";
import { between, milliseconds, number, wholeDuration } from "../../core/format.js";
import { href, place, setQuery } from "../../core/router.js";
import { namespace as shownNamespace } from "../../core/session.js";
import { now } from "../../core/visible.js";
import { Empty } from "../../parts/conditions.js";
import { Ago, Badge, TaskLink } from "../../parts/pieces.js";
import { useStack } from "../../parts/stack.js";
import { ChoiceField } from "../../parts/url_fields.js";

const TONES = { busy: "busy", idle: "good", starting: "warn", leaving: "calm" };
const SHOWN = 5; // attempts of one runner, until one asks for all
const SILENT_SECONDS = 60;

/** How long an attempt runs, and how long it still may. */
function Span({ held, at }) {
  const seconds = (now.value - at) / 1000 + held.seconds;
  if (!held.begun) return html`<span class="wide muted">has not begun, claimed ${wholeDuration(seconds)} ago</span>`;
  const left = held.timeout_seconds === null ? null : held.timeout_seconds - seconds;
  return html`<span class="num">${wholeDuration(seconds)}</span>
    <span class="num muted">${left === null ? "no time limit" : left > 0 ? `${wholeDuration(left)} left` : "time is over"}</span>`;
}

function Silence({ held }) {
  const seconds = held.begun ? between(held.last_sign_at, now.value) : 0;
  return seconds > SILENT_SECONDS && html`<span class="wide warn">no sign of life for ${wholeDuration(seconds)}</span>`;
}

function Held({ held, at, look }) {
  const elsewhere = held.namespace !== shownNamespace.value;
  return html`<li><${TaskLink} id=${held.task_id} namespace=${held.namespace} />
    <span>${held.task_type}${elsewhere && html` <span class="muted">in ${held.namespace}</span>`}</span>
    <span class="muted">attempt ${held.attempt}</span><${Span} held=${held} at=${at} />
    ${held.begun && html`<button type="button" class="small" aria-label=${`Stack of task ${held.task_id}`}
      onClick=${() => look(held.task_id, { namespace: held.namespace })}>Stack</button>`}
    <${Silence} held=${held} /></li>`;
}

function Attempts({ runner, at, look }) {
  const all = place.value.query.get("all") === runner.name;
  const shown = all ? runner.running : runner.running.slice(0, SHOWN);
  const more = runner.running_count - shown.length;
  const fold = runner.running.length > SHOWN && html`<button type="button" class="small" aria-expanded=${all ? "true" : "false"}
    onClick=${() => setQuery({ all: all ? null : runner.name })}>${all ? "Show fewer" : `Show ${number(runner.running.length)}`}</button>`;
  return html`${runner.waits_for && html`<p class="muted">waits for task <${TaskLink} id=${runner.waits_for} /></p>`}
    ${shown.length > 0 && html`<ul class="held">${shown.map((held) => html`<${Held} key=${`${held.task_id} ${held.attempt}`} held=${held} at=${at} look=${look} />`)}</ul>`}
    ${(more > 0 || fold) && html`<p class="buttons">${more > 0 && html`<span class="muted">and ${number(more)} more</span>`}${fold}</p>`}
    ${runner.running_count === 0 && html`<span class="muted">nothing</span>`}`;
}

function Where({ runner: { host, pid, node_id: node }, hosts }) {
  if (!host) return html`<span class="muted">–</span>`;
  const link = href("/runners", { node });
  return html`${hosts.has(node) ? html`<a href=${link} title="Only the runners of this node">${host}</a>` : host}
    ${pid && html`<br /><span class="muted num">pid ${pid}</span>`}`;
}

function Runner({ runner, hosts, at, look }) {
  return html`<tr>
    <td><${Badge} tone=${TONES[runner.state]}>${runner.state}</></td>
    <td class="mono" title=${runner.way ? `It calls the tracker by ${runner.way}` : undefined}>${runner.name}</td>
    <td><${Where} runner=${runner} hosts=${hosts} /></td>
    <td class="num" title=${runner.generation}>${runner.version ?? "–"}</td>
    <td class="num" title="How long it has been up">${runner.since ? wholeDuration(between(runner.since, now.value)) : "–"}</td>
    <td>${runner.last_seen_at ? html`<${Ago} time=${Math.min(milliseconds(runner.last_seen_at), now.value)} />` : html`<span class="muted">not yet</span>`}</td>
    <td><${Attempts} runner=${runner} at=${at} look=${look} /></td></tr>`;
}

/** The runners, those of one pool or node if the URL says so. `at` is when they were so. */
export function Runners({ runners, pools, nodes, at }) {
  const stack = useStack();
  const { query } = place.value;
  const [pool, node] = [query.get("pool") ?? "", query.get("node") ?? ""];
  const shown = runners.filter((one) => (!pool || one.pool === pool) && (!node || one.node_id === node));
  const hosts = new Map(nodes.map(({ node_id: id, host, address }) => [id, host || address]));
  const names = [...new Set([...pools.map(({ name }) => name), ...runners.map((one) => one.pool)])].map((name) => [name, name]);
  return html`<section class="list"><h2>Runners</h2>
    <div class="filter"><div class="fields">
      <${ChoiceField} name="pool" label="Pool" value=${pool} all="All pools" choices=${names} />
      <${ChoiceField} name="node" label="Node" value=${node} all="All nodes" choices=${[...hosts]} />
      ${(pool || node) && html`<button type="button" onClick=${() => setQuery({ pool: null, node: null })}>Show all runners</button>`}
    </div></div>
    ${shown.length === 0
      ? html`<${Empty} title="No runner"><p>${pool || node ? "None of this pool and node is up. Others may be." : "Runners come when their pool needs them."}</p></>`
      : html`<div class="scroll" tabindex="0" role="region" aria-label="Runners"><table class="runners">
        <thead><tr><th class="c-state">State</th><th class="c-name">Runner</th><th class="c-where">Where</th><th class="num c-version">Version</th>
          <th class="num c-time">Up for</th><th class="c-time">Last heard</th><th>Runs</th></tr></thead>
        <tbody>${shown.map((runner) => html`<${Runner} key=${runner.name} runner=${runner} hosts=${hosts} at=${at} look=${stack.look} />`)}</tbody></table></div>`}
    ${stack.shown}</section>`;
}
