/**
 * The view of one task: its state and why it waits, its attempts, log, values and files.
 */
import { html } from "../../lib.js";
import { between, duration, size } from "../../core/format.js";
import { href } from "../../core/router.js";
import { may } from "../../core/session.js";
import { isFinal } from "../../core/states.js";
import { Condition, Loaded } from "../../parts/conditions.js";
import { JsonBlock } from "../../parts/json_block.js";
import { Ago, CopyButton, Fact, Moment, ProgressBar, StateBadge, TaskLink, ViewHead } from "../../parts/pieces.js";
import { pathOf } from "../schedules/schedule_words.js";
import { Actions } from "./actions.js";
import { Attempts } from "./attempts.js";
import { Files } from "./files.js";
import { Log } from "./log.js";
import { useTask } from "./task_state.js";

const CALLBACK_TYPE = "raytasks.callback";

function Waiting({ reasons }) {
  if (!reasons || reasons.length === 0) return null;
  return html`<section class="panel"><h2>Why it waits</h2><ul class="waiting">${reasons.map(({ code, message, fix, until }) => html`<li>
    <strong>${message}</strong> <span class="muted mono">${code}</span>
    ${until && html`<p class="muted">Until <${Moment} time=${until} /> (<${Ago} time=${until} />)</p>`}
    ${fix && html`<p>${fix}</p>`}</li>`)}</ul></section>`;
}

/** What the task's schedule is, or for a callback, whose end it tells of. */
function Origin({ task }) {
  const { schedule, payload } = task;
  return html`${schedule && html`<${Fact} name="Schedule">${may("operate") ? html`<a href=${href(pathOf(schedule))}>${schedule}</a>` : schedule}</>
      <${Fact} name="For the time"><${Moment} time=${task.scheduled_for} /></>`}
    ${task.task_type === CALLBACK_TYPE && html`<${Fact} name="Tells of the end of"><${TaskLink} id=${payload.task_id} /></>`}`;
}

const UNTIL = { started: "until it has begun", finished: "until it has ended" };

/** Its unique key, when it expires, and who is told of its end. */
function Terms({ task }) {
  const { unique, expires_at: expires, callback_url: url, callback_task_id: callback } = task;
  return html`${unique && html`<${Fact} name="Unique key"><span class="mono">${unique.key}</span>
      <p class="muted">${UNTIL[unique.until]}${unique.seconds !== null && `, at most ${duration(unique.seconds)}`}</p></>`}
    ${expires && html`<${Fact} name="Cancelled if not begun by"><${Moment} time=${expires} /></>`}
    ${url && html`<${Fact} name="Callback"><span>${url}</span>${" "}
      ${callback ? html`<p>by the task <${TaskLink} id=${callback} /></p>` : html`<p class="muted">when it has ended</p>`}</>`}`;
}

function Facts({ task }) {
  const ran = task.finished_at && task.started_at;
  return html`<section class="panel"><h2>Facts</h2><dl class="facts">
    <${Fact} name="Type"><a href=${href("/tasks", { task_type: task.task_type })}>${task.task_type}</a></>
    <${Fact} name="Namespace">${task.namespace}</>
    <${Origin} task=${task} />
    <${Fact} name="Attempts">${task.attempt} of ${task.max_attempts}${task.crashes > 0 && `, ${task.crashes} crashed`}${task.snoozes > 0 && `, ${task.snoozes} snoozed`}</>
    <${Fact} name="Priority">${task.priority}</>
    <${Fact} name="Time limit">${task.timeout_seconds === null ? "none" : duration(task.timeout_seconds)}</>
    <${Fact} name="Created"><${Moment} time=${task.created_at} /></>
    <${Fact} name=${isFinal(task.state) || task.started_at ? "Was due" : "Due"}><${Moment} time=${task.run_at} /></>
    <${Fact} name="Began"><${Moment} time=${task.started_at} /></>
    <${Fact} name="Ended"><${Moment} time=${task.finished_at} /></>
    ${ran && html`<${Fact} name="Last attempt took">${duration(between(task.started_at, task.finished_at))}</>`}
    ${task.tags.length > 0 && html`<${Fact} name="Tags">${task.tags.map((tag) => html`<a class="tag" href=${href("/tasks", { tag })}>${tag}</a>`)}</>`}
    <${Terms} task=${task} />
    ${task.trace_id && html`<${Fact} name="Trace"><span class="mono">${task.trace_id}</span></>`}
    ${task.cancel_reason && html`<${Fact} name="Cancelled">${task.cancel_reason.by ? `by ${task.cancel_reason.by}` : task.cancel_reason.code}${task.cancel_reason.message && `: ${task.cancel_reason.message}`}</>`}
  </dl></section>`;
}

function Acts({ acts }) {
  if (acts.length === 0) return null;
  return html`<section class="panel"><h2>What people did</h2><table class="plain"><tbody>${acts.map(({ at, by, action, bulk_id: bulk }) => html`<tr>
    <td><${Moment} time=${at} /></td><td>${action}</td><td>by ${by}${bulk && ", in a bulk operation"}</td></tr>`)}</tbody></table></section>`;
}

function Value({ title, text, hidden = [], large }) {
  return html`<section class="panel"><h2>${title}${large != null && html`<small>${size(large)}, in the artifact store</small>`}</h2>
    ${hidden.length > 0 && html`<p class="muted">Hidden from your key: ${hidden.map((place) => html`<code>${place || "all"}</code> `)}</p>`}
    <${JsonBlock} text=${text} what=${title.toLowerCase()} /></section>`;
}

function Now({ task, progress }) {
  const known = progress.value?.attempt === task.attempt ? progress.value : task.progress;
  if (task.state !== "RUNNING" || !known) return null;
  return html`<section class="panel" aria-label="Progress"><div class="buttons"><${ProgressBar} fraction=${known.fraction} label="Progress" />
    <span>${known.message}</span></div></section>`;
}

function TaskView({ id }) {
  const { task: loaded, lines, progress } = useTask(id);
  if (loaded.error?.kind === "missing") {
    return html`<${ViewHead} title="Task" /><${Condition} kind="missing" title="Not found">
      <p>There is no task <code>${id}</code> in this namespace. It may have been pruned.</p>
      <p><a href=${href("/tasks")}>All tasks</a></p></>`;
  }
  return html`<${Loaded} of=${loaded} what="the task">${(task) => html`
    <${ViewHead} title=${task.task_type} actions=${html`<${Actions} task=${task} reload=${loaded.reload} />`}>
      <${StateBadge} state=${task.state} /><span class="mono">${task.task_id}</span><${CopyButton} text=${task.task_id} what="task id" /></>
    <${Now} task=${task} progress=${progress} />
    <${Waiting} reasons=${task.waiting_for} />
    <div class="columns">
      <section class="panel"><h2>Attempts</h2><${Attempts} task=${task} /></section>
      <${Facts} task=${task} />
    </div>
    <section class="panel"><h2>Log</h2><${Log} lines=${lines} live=${!isFinal(task.state)} /></section>
    <div class="columns">
      <${Value} title="Payload" text=${task.texts.payload} hidden=${task.hidden} large=${task.offloaded?.payload} />
      ${task.state === "COMPLETED" && html`<${Value} title="Result" text=${task.texts.result} large=${task.offloaded?.result} />`}
    </div>
    <div class="columns">
      <section class="panel"><h2>Files</h2><${Files} id=${task.task_id} revision=${task.revision} /></section>
      <${Acts} acts=${task.actions} />
    </div>`}</>`;
}

/** The view. */
export const task = { path: "/tasks/:id", allowed: () => may("read"), View: TaskView };
