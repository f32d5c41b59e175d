/**
 * The view of the audit: who did what, to tasks and to the service.
 */
import { html } from "../../lib.js";
import { get } from "../../core/api.js";
import { useLoad, useRefresh } from "../../core/loading.js";
import { go, href, place } from "../../core/router.js";
import { mayOperateAll, namespace, namespaceInUrl } from "../../core/session.js";
import { Empty, Loaded } from "../../parts/conditions.js";
import { Moment, TaskLink, ViewHead } from "../../parts/pieces.js";
import { CheckField, ChoiceField, TextField, TimeField } from "../../parts/url_fields.js";

const PAGE = 50;
const LOOK_SECONDS = 3;

/** The acts that the audit tells of, in words. */
const ACTS = {
  retry: "Retry a task", cancel: "Cancel a task", replace: "Replace a task", change: "Change a task", delete: "Delete a task",
  bulk_retry: "Retry many tasks", bulk_cancel: "Cancel many tasks", bulk_delete: "Delete many tasks",
  pause: "Pause", resume: "Resume", deploy: "Deploy a version", stop: "Stop the service",
  set_limit: "Set a limit", clear_limit: "Clear a limit", set_pool: "Set a pool", clear_pool: "Clear a pool",
  set_namespace: "Set a share", clear_namespace: "Clear a share",
  set_schedule: "Set a schedule", clear_schedule: "Clear a schedule", pause_schedule: "Pause a schedule",
  resume_schedule: "Resume a schedule", run_schedule: "Run a schedule",
};

const PARTS = ["by", "action", "since"];

function filterOf(query) {
  const filter = Object.fromEntries(PARTS.map((name) => [name, query.get(name) ?? ""]));
  return { ...filter, only: query.get("only") === "namespace" };
}

function Target({ entry: { action, target, namespace: where } }) {
  if (target === null) return html`<span class="muted">–</span>`;
  if (["retry", "cancel", "change", "replace"].includes(action)) return html`<${TaskLink} id=${target} namespace=${where} />`;
  if (action.startsWith("bulk_")) {
    const link = href(`/bulk/${target}`, { namespace: namespaceInUrl(where) });
    return html`<a class="mono" href=${link} title=${target}>…${target.slice(-12)}</a>`;
  }
  return action === "deploy" ? html`version ${target}` : target;
}

/** The details of an act. They are small, and what is not there is left out. */
function Details({ details }) {
  const known = Object.entries(details ?? {}).filter(([, value]) => value !== null && String(value) !== "");
  return known.map(([name, value]) => html`<span class="detail"><span class="muted">${name.replaceAll("_", " ")}</span> ${typeof value === "object" ? [value].flat().map((item) => (typeof item === "object" ? JSON.stringify(item) : item)).join(", ") : String(value)}</span>`);
}

function Entries({ entries }) {
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Audit"><table class="audit">
    <thead><tr><th class="c-moment">When</th><th class="c-by">Who</th><th class="c-act">What</th><th class="c-id">To what</th>
      <th class="c-space">Namespace</th><th>Details</th></tr></thead>
    <tbody>${entries.map((entry) => html`<tr key=${entry.audit_id}>
      <td><${Moment} time=${entry.at} /></td><td>${entry.by}</td><td title=${entry.action}>${ACTS[entry.action] ?? entry.action}</td>
      <td><${Target} entry=${entry} /></td>
      <td>${entry.namespace ?? html`<span class="muted">whole service</span>`}</td>
      <td><${Details} details=${entry.details} /></td></tr>`)}</tbody></table></div>`;
}

function Filter({ filter }) {
  const narrowed = filter.only || PARTS.some((name) => filter[name]);
  return html`<section class="filter" aria-label="Filter"><div class="fields">
    <${TextField} name="by" label="Who" value=${filter.by} placeholder="name of a key" />
    <${ChoiceField} name="action" label="What" value=${filter.action} all="All acts" choices=${Object.entries(ACTS)} />
    <${TimeField} name="since" label="Since" value=${filter.since} />
    <${CheckField} name="only" label=${`Only namespace ${namespace.value}`} value="namespace" checked=${filter.only} />
    ${narrowed && html`<button type="button" onClick=${() => go("/audit")}>Clear filter</button>`}</div></section>`;
}

function AuditView() {
  const { query } = place.value;
  const filter = filterOf(query);
  const cursor = query.get("cursor") ?? "";
  const asked = { by: filter.by, action: filter.action, since: filter.since, namespace: filter.only ? namespace.value : null };
  const page = useLoad(
    (abort) => get("/audit", { ...asked, cursor, limit: PAGE }, abort), [JSON.stringify([asked, cursor])], { keep: true },
  );
  useRefresh(LOOK_SECONDS, { ...page, reload: () => !cursor && page.reload() }); // older pages do not change
  const kept = Object.fromEntries([...PARTS, "only"].map((name) => [name, query.get(name)]));
  return html`<${ViewHead} title="Audit"><span class="muted">What people did; kept for 90 days</span></>
    <${Filter} filter=${filter} />
    <${Loaded} of=${page} what="the audit">${({ entries, next_cursor: next }) => html`
      ${entries.length === 0
        ? html`<${Empty} title="No act"><p>Nobody has done anything that matches. Retries, cancels, bulk operations, pauses and deployments appear here by themselves.</p></>`
        : html`<${Entries} entries=${entries} />`}
      <div class="list-foot">${cursor && html`<a href=${href("/audit", kept)}>← Newest</a>`}
        ${next && html`<a href=${href("/audit", { ...kept, cursor: next })}>Older →</a>`}</div>`}</>`;
}

/** The view. */
export const audit = { path: "/audit", title: "Audit", key: "a", allowed: mayOperateAll, View: AuditView };
