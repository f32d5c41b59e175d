/**
 * The view of one schedule: its next times, its last task, and what it submits.
 */
import { html } from "../../lib.js";
import { duration, number } from "../../core/format.js";
import { useShortcut } from "../../core/keyboard.js";
import { useLoad, useRefresh } from "../../core/loading.js";
import { go, href } from "../../core/router.js";
import { may, namespace } from "../../core/session.js";
import { Condition, Loaded } from "../../parts/conditions.js";
import { JsonBlock } from "../../parts/json_block.js";
import { Ago, Badge, Fact, Moment, TaskLink, ViewHead } from "../../parts/pieces.js";
import { loadSchedule } from "./loading_schedule.js";
import { clear, runNow, turn } from "./schedule_acts.js";
import { catchUpText, overlapText, pathOf, timesText } from "./schedule_words.js";

const LOOK_SECONDS = 3;

/** The condition for a name that no schedule has. */
export function Unknown({ name }) {
  return html`<${Condition} kind="missing" title="Not found">
    <p>There is no schedule <code>${name}</code> in the namespace ${namespace.value}. It may have ended with a deployment; its tasks are still in the list.</p>
    <p><a href=${href("/schedules")}>All schedules</a></p></>`;
}

function Times({ schedule: { next_times: times, paused, in_force: spec, error } }) {
  return html`<section class="panel"><h2>Next times <small>${timesText(spec)}</small></h2>
    ${error ? html`<p>None can be computed: ${error}. It is tried again each minute. Missed times then count as after an outage.</p>` : paused ? html`<p>None: ${paused.by} has paused it, <${Ago} time=${paused.since} />. Times that pass meanwhile get no task.</p>` : html`
    <ol class="plain-list">${times.map((time) => html`<li><${Moment} time=${time} /> <span class="muted"><${Ago} time=${time} /></span></li>`)}</ol>`}</section>`;
}

function Facts({ schedule }) {
  const { in_force: spec, declared, override } = schedule;
  return html`<section class="panel"><h2>Facts</h2><dl class="facts">
    <${Fact} name="Task type"><a href=${href(`/types/${spec.task_type}`)}>${spec.task_type}</a></>
    <${Fact} name="When">${timesText(spec)}</>
    ${override && html`<${Fact} name="In the code">${declared ? timesText(declared) : "not declared"}</>`}
    <${Fact} name="Set by">${override ? html`${override.by}, <${Ago} time=${override.changed_at} />` : "the code"}</>
    <${Fact} name="Last task">${schedule.last_task_id ? html`<${TaskLink} id=${schedule.last_task_id} />` : "none yet"}</>
    ${schedule.last_scheduled_for && html`<${Fact} name="It was for"><${Moment} time=${schedule.last_scheduled_for} /></>`}
    <${Fact} name="After an outage">${catchUpText(spec)}</>
    <${Fact} name="While its last task is open">${overlapText(spec)}</>
    <${Fact} name="Priority">${spec.priority}</>
    <${Fact} name="Attempts">${number(spec.max_attempts)}</>
    <${Fact} name="Time limit">${spec.timeout_seconds === null ? "none" : duration(spec.timeout_seconds)}</>
    ${spec.expires_seconds !== null && html`<${Fact} name="Cancelled if not begun after">${duration(spec.expires_seconds)}</>`}
    ${spec.tags.length > 0 && html`<${Fact} name="Tags">${spec.tags.map((tag) => html`<a class="tag" href=${href("/tasks", { tag })}>${tag}</a>`)}</>`}
  </dl></section>`;
}

function Actions({ schedule, reload }) {
  const { name, paused, override, declared } = schedule;
  const run = () => runNow(schedule);
  const pausing = async () => { if (await turn(schedule)) reload(); };
  const clearing = async () => { if (await clear(schedule)) (declared ? reload() : go("/schedules")); };
  useShortcut("r", "Run the schedule now", run);
  return html`<span class="buttons"><button type="button" class="primary" onClick=${run}>Run now…</button>
    <button type="button" onClick=${pausing}>${paused ? "Resume" : "Pause…"}</button>
    <a class="button" href=${href(`${pathOf(name)}/set`)}>Set…</a>
    ${override && html`<button type="button" onClick=${clearing}>${declared ? "Return to the code…" : "End…"}</button>`}</span>`;
}

function ScheduleView({ name }) {
  const found = useLoad((abort) => loadSchedule(name, abort), [name]);
  useRefresh(LOOK_SECONDS, found);
  return html`<${ViewHead} title=${name} actions=${found.data && html`<${Actions} schedule=${found.data} reload=${found.reload} />`}>
      ${found.data?.paused && html`<${Badge} tone="warn">PAUSED</>`}${found.data?.error && html`<${Badge} tone="bad">STANDS STILL</>`}<a href=${href("/schedules")}>All schedules</a></>
    <${Loaded} of=${found} what="the schedule">${(schedule) => (schedule === null ? html`<${Unknown} name=${name} />` : html`
      <div class="columns"><${Times} schedule=${schedule} /><${Facts} schedule=${schedule} /></div>
      <section class="panel"><h2>Payload of each task</h2><${JsonBlock} text=${schedule.texts.payload} what="payload" /></section>`)}</>`;
}

/** The view. */
export const schedule = { path: "/schedules/:name", allowed: () => may("operate"), View: ScheduleView };
