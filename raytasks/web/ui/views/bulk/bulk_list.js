/**
 * The view of the bulk operations of the namespace: the newest, with how far each has come.
 */
import { html } from "../../lib.js";
import { get } from "../../core/api.js";
import { between, duration, number, wholeDuration } from "../../core/format.js";
import { useShortcut } from "../../core/keyboard.js";
import { useLoad, useRefresh } from "../../core/loading.js";
import { go, href } from "../../core/router.js";
import { inNamespace, may } from "../../core/session.js";
import { now } from "../../core/visible.js";
import { Empty, Loaded } from "../../parts/conditions.js";
import { Ago, ViewHead } from "../../parts/pieces.js";
import { inWords } from "../tasks/filter.js";
import { ACTION_TITLES, OperationState, Passed } from "./operation_pieces.js";

const SOON_SECONDS = 1; // while one runs
const REST_SECONDS = 3;

function Row({ operation }) {
  const { bulk_id: id, action, filter, by, created_at: begun, finished_at: ended } = operation;
  return html`<tr>
    <td><${OperationState} operation=${operation} /></td>
    <td><a href=${href(`/bulk/${id}`)} title=${id}>${ACTION_TITLES[action]}</a></td>
    <td>${inWords(filter)}</td>
    <td><${Passed} operation=${operation} /></td>
    <td class="num">${number(operation.changed)}</td>
    <td>${by}</td>
    <td><${Ago} time=${begun} /></td>
    <td class="num">${ended ? duration(between(begun, ended)) : wholeDuration(between(begun, now.value))}</td></tr>`;
}

function List({ operations }) {
  if (operations.length === 0) {
    return html`<${Empty} title="No bulk operation">
      <p>A bulk operation retries, cancels or deletes all tasks that a filter matches. It is forgotten 30 days after its end.</p>
      ${may("operate") && html`<p><a href=${href("/bulk/new")}>Begin one</a></p>`}</>`;
  }
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Bulk operations"><table class="bulks">
    <thead><tr><th class="c-state">State</th><th class="c-action">Action</th><th>Tasks with</th><th class="c-passed">Looked at</th>
      <th class="num c-changed" title="How many tasks it has retried, cancelled or deleted">Changed</th><th class="c-by">By</th><th class="c-time">Begun</th><th class="num c-took">Took</th></tr></thead>
    <tbody>${operations.map((one) => html`<${Row} key=${one.bulk_id} operation=${one} />`)}</tbody></table></div>`;
}

function BulkView() {
  const found = useLoad((abort) => get("/bulk", inNamespace(), abort));
  const runs = found.data?.operations.some(({ state }) => state === "RUNNING");
  useRefresh(runs ? SOON_SECONDS : REST_SECONDS, found);
  useShortcut("n", "New bulk operation", may("operate") ? () => go("/bulk/new") : null);
  const actions = may("operate") && html`<a class="button primary" href=${href("/bulk/new")}>New bulk operation</a>`;
  return html`<${ViewHead} title="Bulk operations" actions=${actions} />
    <${Loaded} of=${found} what="bulk operations">${({ operations }) => html`<${List} operations=${operations} />`}</>`;
}

/** The view. */
export const bulk = { path: "/bulk", title: "Bulk", key: "b", allowed: () => may("read"), View: BulkView };
