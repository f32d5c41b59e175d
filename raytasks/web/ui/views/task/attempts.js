/**
 * The attempts of a task as a timeline, the newest first.
 */
import { html } from "../../lib.js";
import { between, duration, number, wholeDuration } from "../../core/format.js";
import { may } from "../../core/session.js";
import { now } from "../../core/visible.js";
import { Ago, CopyButton, Moment } from "../../parts/pieces.js";

const TONES = { succeeded: "good", failed: "bad", timed_out: "bad", crashed: "bad", lost: "warn", cancelled: "calm" };

function ErrorOf({ error, name }) {
  if (!error) return null;
  return html`<p class="error-text">${error.type}: ${error.message}</p>
    ${!error.retryable && html`<p class="muted">Not to be retried.</p>`}
    ${error.traceback && html`<details><summary>Traceback</summary>
      <pre tabindex="0" role="region" aria-label=${`Traceback of ${name}`}>${error.traceback}</pre>
      <p class="buttons"><${CopyButton} text=${error.traceback} what="traceback" /></p></details>`}
    ${!error.traceback && !may("operate") && html`<p class="muted">The traceback needs a key with the scope operate.</p>`}`;
}

function Attempt({ item }) {
  const runs = item.outcome === null;
  const name = `attempt ${item.attempt}`;
  const span = runs
    ? item.started_at && wholeDuration(between(item.started_at, now.value))
    : duration(between(item.started_at, item.finished_at));
  return html`<li data-tone=${runs ? "busy" : TONES[item.outcome] ?? "calm"}><span class="mark"></span>
    <div class="body">
      <div class="line"><strong>Attempt ${item.attempt}</strong><span>${runs ? (item.started_at ? "running" : "waits for a place") : item.outcome}</span>
        <span class="num">${span}</span><span class="muted"><${Moment} time=${item.started_at} /></span></div>
      ${(item.host || item.node_id) && html`<div class="line muted">
        ${item.host && html`<span>on ${item.host}, pid ${item.pid}</span>`}
        ${item.node_id && html`<span title=${item.node_id}>node <span class="mono">${item.node_id.slice(0, 12)}</span></span>`}
        ${item.ray_task_id && html`<span title=${item.ray_task_id}>Ray task <span class="mono">${item.ray_task_id.slice(0, 12)}</span></span>`}
        ${item.ray_attempt > 0 && html`<span>Ray's own retry ${item.ray_attempt}</span>`}
        ${runs && item.last_sign_at && html`<span>last sign of life <${Ago} time=${item.last_sign_at} /></span>`}</div>`}
      ${item.late_outcome && html`<p class="muted">Marked lost; its process reported ${item.late_outcome} at <${Moment} time=${item.late_at} />, which changed nothing.</p>`}
      <${ErrorOf} error=${item.error} name=${name} /></div></li>`;
}

/** The timeline. */
export function Attempts({ task }) {
  if (task.attempts.length === 0) return html`<p class="muted">None yet.</p>`;
  return html`<ol class="attempts">${[...task.attempts].reverse().map((item) => html`<${Attempt} key=${item.attempt} item=${item} />`)}</ol>
    ${task.attempts_omitted > 0 && html`<p class="muted">${number(task.attempts_omitted)} more attempts are not shown.</p>`}`;
}
