/**
 * The groups of failures as a table: type, class of error, how many, since when, the newest.
 */
import { html, useRef, useState } from "../../lib.js";
import { clockTime, milliseconds, number } from "../../core/format.js";
import { useShortcut } from "../../core/keyboard.js";
import { useOneAtATime } from "../../core/pacing.js";
import { go, href } from "../../core/router.js";
import { may } from "../../core/session.js";
import { Ago, TaskLink } from "../../parts/pieces.js";
import { useRowKeys } from "../../parts/row_keys.js";
import { Sparkline } from "../../parts/sparkline.js";
import { Passed } from "../bulk/operation_pieces.js";
import { actOnAll } from "../tasks/bulk.js";

const HOUR_MS = 3_600_000;

/** The filter of a group's tasks, as lists and bulk operations take it. */
function filterOf({ task_type: type, error_type: error }) {
  return { state: ["FAILED"], task_type: type, error_type: error };
}

function Hours({ hours, since, name }) {
  const start = milliseconds(since);
  const day = hours.reduce((sum, count) => sum + count, 0);
  return html`<${Sparkline} values=${hours} label=${`${number(day)} of ${name} in the last 24 hours`}
    titleOf=${(index) => `from ${clockTime(start + index * HOUR_MS)} on`} />`;
}

function Retry({ group, busy, run }) {
  const [progress, setProgress] = useState(null);
  const retry = () => run(() => actOnAll({ action: "retry", ...filterOf(group) }, setProgress));
  if (progress) return html`<${Passed} operation=${progress} />`;
  return html`<button type="button" class="small" aria-disabled=${busy ? "true" : undefined} onClick=${retry}
    aria-label=${`Retry all of ${group.task_type} with ${group.error_type}`}>Retry all…</button>`;
}

function Group({ group, since, busy, run }) {
  const name = `${group.task_type} with ${group.error_type}`;
  return html`<tr>
    <td>${group.task_type}</td>
    <td><a class="group error-text" href=${href("/tasks", filterOf(group))} title="Its tasks">${group.error_type}</a></td>
    <td class="num">${number(group.count)}</td>
    <td><${Hours} hours=${group.hours} since=${since} name=${name} /></td>
    <td><${Ago} time=${group.first_at} /></td>
    <td><${Ago} time=${group.last_at} /></td>
    <td><${TaskLink} id=${group.newest_task_id} /><p class="message" title=${group.message}>${group.message}</p></td>
    ${may("operate") && html`<td><${Retry} group=${group} busy=${busy} run=${run} /></td>`}</tr>`;
}

/** Has the keys that act on the group with the focus. */
function useKeys(body) {
  const row = useRowKeys(body, "a.group", "group");
  useShortcut("o", "Show the tasks of the group", () => row()?.querySelector("a.group").click());
  useShortcut("n", "Open the newest task of the group", () => row() && go(`/tasks/${row().querySelector("a.mono").title}`));
  useShortcut("r", "Retry all of the group", may("operate") ? () => row()?.querySelector("button")?.click() : null);
}

/** The table. */
export function Groups({ groups, since }) {
  const body = useRef(null);
  const { busy, run } = useOneAtATime();
  useKeys(body);
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Groups of failures"><table class="errors">
    <thead><tr><th class="c-type">Type</th><th class="c-error">Error</th><th class="c-count num">Tasks</th>
      <th class="c-hours" title="Those that failed in each of the last 24 hours, the present one last">24 hours</th><th class="c-time">First</th><th class="c-time">Last</th>
      <th>Newest task</th>${may("operate") && html`<th class="c-act"><span class="off-screen">Act</span></th>`}</tr></thead>
    <tbody ref=${body}>${groups.map((group) => html`<${Group} key=${`${group.task_type} ${group.error_type}`}
      group=${group} since=${since} busy=${busy} run=${run} />`)}</tbody></table></div>`;
}
