/**
 * The table of tasks: one row each, with a box to select it.
 */
import { html, useRef } from "../../lib.js";
import { between, coarse, duration, wholeDuration } from "../../core/format.js";
import { useShortcut } from "../../core/keyboard.js";
import { go, href } from "../../core/router.js";
import { now } from "../../core/visible.js";
import { Ago, ProgressBar, StateBadge, TaskLink } from "../../parts/pieces.js";
import { useRowKeys } from "../../parts/row_keys.js";

/** How long a task runs, ran, or is still to wait. */
function Span({ task }) {
  if (task.state === "RUNNING") {
    return html`<span class="num">${wholeDuration(between(task.started_at ?? task.claimed_at, now.value))}</span>`;
  }
  if (task.finished_at) {
    return html`<span class="num">${task.started_at ? duration(between(task.started_at, task.finished_at)) : "–"}</span>`;
  }
  if (!task.run_at) return html`<span class="muted">–</span>`;
  const wait = between(now.value, task.run_at);
  return html`<span class="num muted">${wait > 0 ? `in ${coarse(wait)}` : "waits"}</span>`;
}

function Remark({ task }) {
  if (task.state === "RUNNING" && task.progress) {
    return html`<${ProgressBar} fraction=${task.progress.fraction} label=${`Progress of ${task.task_id}`} />
      <span class="muted" title=${task.progress.message}>${task.progress.message}</span>`;
  }
  if (task.error) return html`<span class="error-text" title=${task.error.message}>${task.error.type}: ${task.error.message}</span>`;
  if (task.cancel_requested && task.state === "RUNNING") return html`<span class="muted">cancel requested</span>`;
  return null;
}

function Row({ task, picked, pick, pickable }) {
  return html`<tr aria-selected=${pickable ? picked : undefined}>
    ${pickable && html`<td class="c-pick"><input type="checkbox" checked=${picked} aria-label=${`Select task ${task.task_id}`}
      onChange=${() => pick(task.task_id)} /></td>`}
    <td><${StateBadge} state=${task.state} /></td>
    <td title=${task.task_type}>${task.task_type}</td>
    <td><${TaskLink} id=${task.task_id} /></td>
    <td><${Ago} time=${task.created_at} /></td>
    <td><${Span} task=${task} /></td>
    <td class="num">${task.attempt} / ${task.max_attempts ?? "–"}</td>
    <td title=${task.tags.join(" ")}>${task.tags.map((tag) => html`<a class="tag" href=${href("/tasks", { tag })}>${tag}</a>`)}</td>
    <td><${Remark} task=${task} /></td></tr>`;
}

/** Has the keys that act on the row with the focus. */
function useKeys(body, pick, pickable) {
  const row = useRowKeys(body, "a.mono", "task");
  const id = () => row()?.querySelector("a.mono")?.title;
  useShortcut("o", "Open the task", () => id() && go(`/tasks/${id()}`));
  useShortcut("x", "Select the task", pickable ? () => id() && pick(id()) : null);
}

/** The table. `picked` is a Map of tasks by id, `setPicked` sets it; without `pickable` there are no boxes. */
export function Rows({ tasks, picked, setPicked, pickable }) {
  const body = useRef(null);
  const pick = (id) => {
    const next = new Map(picked);
    if (!next.delete(id)) next.set(id, tasks.find((task) => task.task_id === id));
    setPicked(next);
  };
  useKeys(body, pick, pickable);
  const all = tasks.length > 0 && tasks.every(({ task_id: id }) => picked.has(id));
  const pickAll = () => {
    const next = new Map(picked);
    for (const task of tasks) all ? next.delete(task.task_id) : next.set(task.task_id, task);
    setPicked(next);
  };
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Tasks"><table class="tasks">
    <thead><tr>
      ${pickable && html`<th class="c-pick"><input type="checkbox" checked=${all} aria-label="Select all on this page" onChange=${pickAll} /></th>`}
      <th class="c-state">State</th><th class="c-type">Type</th><th class="c-id">Task</th><th class="c-time">Created</th>
      <th class="c-span">Duration</th><th class="c-attempt num">Attempt</th><th class="c-tags">Tags</th><th>Progress, error</th>
    </tr></thead>
    <tbody ref=${body}>${tasks.map((task) => html`<${Row} key=${task.task_id} task=${task}
      picked=${picked.has(task.task_id)} pick=${pick} pickable=${pickable} />`)}</tbody></table></div>`;
}
