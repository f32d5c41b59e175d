/**
 * The view of one bulk operation, live until it is done.
 */
import { html } from "../../lib.js";
import { get } from "../../core/api.js";
import { between, duration, number, wholeDuration } from "../../core/format.js";
import { useLoad, useRefresh } from "../../core/loading.js";
import { href } from "../../core/router.js";
import { inNamespace, may } from "../../core/session.js";
import { ACTS } from "../../core/states.js";
import { now } from "../../core/visible.js";
import { Condition, Loaded } from "../../parts/conditions.js";
import { CopyButton, Fact, Moment, ViewHead } from "../../parts/pieces.js";
import { inWords, placeOf } from "../tasks/filter.js";
import { ACTION_TITLES, OperationState, Passed } from "./operation_pieces.js";

const SOON_SECONDS = 0.5; // while it runs
const REST_SECONDS = 10;

const HELD = {
  backlog_full: "The backlog is full, so no more tasks can be retried. It goes on by itself when some tasks have run. To let it go on sooner, raise RAYTASKS_MAX_BACKLOG.",
  namespace_full: "As many tasks of this namespace wait as its max_backlog allows, so no more can be retried. It goes on by itself when some have run. To let it go on sooner, raise that bound.",
};

function Held({ by }) {
  if (!by) return null;
  return html`<section class="panel held-by" role="status"><h2>It waits</h2><p>${HELD[by] ?? by}</p></section>`;
}

function Facts({ operation }) {
  const { action, filter, matched, looked_at: passed, changed, by, created_at: begun, finished_at: ended } = operation;
  const { past } = ACTS[action];
  return html`<section class="panel"><h2>Facts</h2><dl class="facts">
    <${Fact} name="Tasks with">${inWords(filter)}</>
    <${Fact} name="Matched at the beginning"><span class="num">${matched === null ? "too many to count" : number(matched)}</span></>
    <${Fact} name="Looked at"><span class="num">${number(passed)}</span></>
    <${Fact} name=${`${past[0].toUpperCase()}${past.slice(1)}`}><span class="num">${number(changed)}</span></>
    <${Fact} name="Left as they were"><span class="num" title="Tasks that had changed meanwhile, or did not match when they were looked at">${number(passed - changed)}</span></>
    ${operation.skipped > 0 && html`<${Fact} name="Skipped"><span class="num" title="Their unique keys are held by other tasks">${number(operation.skipped)}</span></>`}
    <${Fact} name="Begun by">${by}</>
    <${Fact} name="Begun"><${Moment} time=${begun} /></>
    <${Fact} name="Ended"><${Moment} time=${ended} /></>
    <${Fact} name="Took"><span class="num">${ended ? duration(between(begun, ended)) : wholeDuration(between(begun, now.value))}</span></>
  </dl><p><a href=${href("/tasks", placeOf(filter))}>Tasks that match now</a></p></section>`;
}

function OperationView({ id }) {
  const found = useLoad((abort) => get(`/bulk/${id}`, inNamespace(), abort), [id]);
  useRefresh(found.data?.state === "RUNNING" ? SOON_SECONDS : REST_SECONDS, found);
  const list = html`<a href=${href("/bulk")}>All bulk operations</a>`;
  if (found.error?.kind === "missing") {
    return html`<${ViewHead} title="Bulk operation" /><${Condition} kind="missing" title="Not found">
      <p>There is no bulk operation <code>${id}</code> in this namespace. It is forgotten 30 days after its end.</p><p>${list}</p></>`;
  }
  return html`<${Loaded} of=${found} what="the operation">${(operation) => html`
    <${ViewHead} title=${`${ACTION_TITLES[operation.action]} of many tasks`} actions=${list}>
      <${OperationState} operation=${operation} /><span class="mono">${id}</span><${CopyButton} text=${id} what="operation id" /></>
    <section class="panel" aria-label="Progress"><div class="buttons"><${Passed} operation=${operation} /></div></section>
    <${Held} by=${operation.held_by} />
    <${Facts} operation=${operation} />`}</>`;
}

/** The view. */
export const operation = { path: "/bulk/:id", allowed: () => may("read"), View: OperationView };
