/**
 * The view of the schedules of the namespace: when each is due, and what it last did.
 */
import { html, useRef } from "../../lib.js";
import { get } from "../../core/api.js";
import { useShortcut } from "../../core/keyboard.js";
import { useLoad, useRefresh } from "../../core/loading.js";
import { go, href, place } from "../../core/router.js";
import { inNamespace, may } from "../../core/session.js";
import { Empty, Loaded } from "../../parts/conditions.js";
import { Ago, Badge, Moment, TaskLink, ViewHead } from "../../parts/pieces.js";
import { useRowKeys } from "../../parts/row_keys.js";
import { runNow, turn } from "./schedule_acts.js";
import { pathOf, timesText } from "./schedule_words.js";

const LOOK_SECONDS = 3;
const PAGE = 50;

/** The next time, and the four after it if one asks. */
function Next({ schedule: { name, next_times: [next, ...others], paused, error } }) {
  if (paused) return html`<${Badge} tone="warn">PAUSED</> <span class="muted">by ${paused.by}, <${Ago} time=${paused.since} /></span>`;
  if (error) return html`<${Badge} tone="bad">STANDS STILL</> <span>${error}</span>`;
  if (!next) return html`<span class="muted">not computed yet</span>`;
  return html`<${Moment} time=${next} /> <span class="muted"><${Ago} time=${next} /></span>
    <details><summary aria-label=${`Then: more times of ${name}`}>Then</summary><ul class="plain-list">${others.map((time) => html`<li><${Moment} time=${time} /></li>`)}</ul></details>`;
}

function Row({ schedule, reload }) {
  const { name, in_force: spec, override, declared, paused } = schedule;
  const pausing = async () => { if (await turn(schedule)) reload(); };
  return html`<tr><td><a class="group" href=${href(pathOf(name))}>${name}</a></td>
    <td><a href=${href(`/types/${spec.task_type}`)}>${spec.task_type}</a></td>
    <td>${timesText(spec)}</td>
    <td><${Next} schedule=${schedule} /></td>
    <td>${schedule.last_task_id ? html`<${TaskLink} id=${schedule.last_task_id} /> <span class="muted"><${Ago} time=${schedule.last_at} /></span>` : html`<span class="muted">none yet</span>`}</td>
    <td>${override ? override.by : html`<span class="muted">the code</span>`}${override && !declared && html` <span class="muted">(not in the code)</span>`}</td>
    <td class="nowrap"><button type="button" class="small" aria-label=${`Run ${name}`} onClick=${() => runNow(schedule)}>Run…</button>${" "}
      <button type="button" class="small" aria-label=${`${paused ? "Resume" : "Pause"} ${name}`} onClick=${pausing}>${paused ? "Resume" : "Pause…"}</button></td></tr>`;
}

function Rows({ schedules, reload }) {
  const body = useRef(null);
  const row = useRowKeys(body, "a.group", "schedule");
  useShortcut("o", "Show the schedule", () => row()?.querySelector("a.group").click());
  useShortcut("r", "Run the schedule now", () => row()?.querySelector("button").click());
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Schedules"><table class="schedules">
    <thead><tr><th class="c-name">Schedule</th><th class="c-type">Task type</th><th class="c-when">When</th><th>Next</th>
      <th class="c-last" title="The last task that one of its times got">Last task</th><th class="c-set" title="Who has set other times than those in the code">Set by</th><th class="c-act">Act</th></tr></thead>
    <tbody ref=${body}>${schedules.map((one) => html`<${Row} key=${one.name} schedule=${one} reload=${reload} />`)}</tbody></table></div>`;
}

function None() {
  return html`<${Empty} title="No schedule"><p>A schedule submits a task at each of its times. Declare one in the code: <code>@handler(…, schedules=[Schedule("nightly", "0 3 * * *", payload=…)])</code>.</p>
    <p>Or <a href=${href("/schedules/+")}>set one here</a>.</p></>`;
}

function SchedulesView() {
  const cursor = place.value.query.get("cursor") ?? "";
  const found = useLoad((abort) => get("/schedules", { ...inNamespace(), cursor, limit: PAGE }, abort), [cursor], { keep: true });
  useRefresh(LOOK_SECONDS, found);
  useShortcut("n", "New schedule", () => go("/schedules/+"));
  const actions = html`<a class="button primary" href=${href("/schedules/+")}>New schedule</a>`;
  return html`<${ViewHead} title="Schedules" actions=${actions} />
    <${Loaded} of=${found} what="schedules">${({ schedules, next_cursor: next }) => html`
      ${schedules.length === 0 && !cursor ? html`<${None} />` : html`<${Rows} schedules=${schedules} reload=${found.reload} />`}
      <div class="list-foot">${cursor && html`<a href=${href("/schedules")}>← First</a>`}
        ${next && html`<a href=${href("/schedules", { cursor: next })}>More →</a>`}</div>`}</>`;
}

/** The view. */
export const schedules = { path: "/schedules", title: "Schedules", key: "s", allowed: () => may("operate"), View: SchedulesView };
