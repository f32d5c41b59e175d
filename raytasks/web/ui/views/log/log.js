/**
 * The view of the service's log, live: attempts, runners, versions, outages, and handlers' lines.
 */
import { html, useSignal } from "../../lib.js";
import { localTime, number } from "../../core/format.js";
import { useShortcut } from "../../core/keyboard.js";
import { go, place } from "../../core/router.js";
import { mayOperateAll, namespace } from "../../core/session.js";
import { useTaskTypes } from "../../core/types.js";
import { Empty, Failure, Loading } from "../../parts/conditions.js";
import { CopyButton, TaskLink, ViewHead } from "../../parts/pieces.js";
import { useStayAtEnd } from "../../parts/stay_at_end.js";
import { CheckField, ChoiceField } from "../../parts/url_fields.js";
import { useLogLines } from "./log_lines.js";

const NEWEST = 500;

const LEVELS = [["INFO", "Info and above"], ["WARNING", "Warning and above"], ["ERROR", "Error and above"]];

/** The fields that the link to the task tells, or the message. */
const TOLD = ["task_id", "task_type", "attempt", "outcome"];

/** The fields that say where a line comes from. They are shown if one asks for all fields. */
const ORIGIN = ["logger", "trace_id", "runner", "pool", "host", "pid", "node"];

/** Returns the fields that are shown beside the message, as pairs. */
function fieldsOf(fields, all) {
  const left = all ? ["task_id"] : [...TOLD, ...ORIGIN, ...(fields.namespace === namespace.value ? ["namespace"] : [])];
  return Object.entries(fields).filter(([name]) => !left.includes(name));
}

function text({ at, level, message, fields, gap }) {
  if (gap) return "(lines are missing here)";
  const more = Object.entries(fields).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  return [at, level, message, ...more].join(" ");
}

function Line({ line, all }) {
  if (line.gap) return html`<div class="gap" role="separator">Lines are missing here: the tracker was started again, or too many came at once.</div>`;
  const { at, level, message, fields } = line;
  return html`<div data-level=${level}>
    <span class="muted" title=${localTime(at)}>${localTime(at, { millis: true }).slice(5)}</span><b>${level}</b>
    <span>${message}${fields.task_id && html` <${TaskLink} id=${fields.task_id} namespace=${fields.namespace} />`}
      ${fieldsOf(fields, all).map(([name, value]) => html` <span class="muted">${name}=${String(value)}</span>`)}</span></div>`;
}

function Lines({ lines, all }) {
  const end = useStayAtEnd(lines.at(-1)?.id);
  return html`<div class="log service" ref=${end.box} onScroll=${end.onScroll} tabindex="0" role="log" aria-live="off" aria-label="Log">
      ${lines.map((line) => html`<${Line} key=${line.id} line=${line} all=${all} />`)}</div>
    <p class="buttons"><span class="muted num">${number(lines.length)} ${lines.length === 1 ? "line" : "lines"}</span>
      <${CopyButton} text=${() => lines.map(text).join("\n")} what="log" /></p>`;
}

function Filter({ level, type, only, all }) {
  const types = useTaskTypes().map(({ task_type: name }) => [name, name]);
  return html`<section class="filter" aria-label="Filter"><div class="fields">
    <${ChoiceField} name="level" label="Level" value=${level} all="All levels" choices=${LEVELS} />
    <${ChoiceField} name="task_type" label="Task type" value=${type} all="All types" choices=${types} />
    <${CheckField} name="only" label=${`Nothing about other namespaces than ${namespace.value}`} value="namespace" checked=${only} />
    <${CheckField} name="fields" label="All fields" value="all" checked=${all} />
    ${(level || type || only || all) && html`<button type="button" onClick=${() => go("/log")}>Clear filter</button>`}</div></section>`;
}

function Content({ found, all }) {
  const [state, lines] = [found.state.value, found.lines.value];
  if (typeof state === "object") return html`<${Failure} error=${state} />`;
  const away = state === "away" && html`<p class="stale" role="status">Disconnected. The lines so far may be old; the page connects again by itself.</p>`;
  if (lines.length > 0) return html`${away}<${Lines} lines=${lines} all=${all} />`;
  if (away) return away;
  if (state !== "live") return html`<${Loading} what="the log" />`;
  return html`<${Empty} title="No line"><p>The service has logged nothing that matches. New lines appear here by themselves.</p></>`;
}

function LogView() {
  const { query } = place.value;
  const [level, type, only] = [query.get("level") ?? "", query.get("task_type") ?? "", query.get("only") === "namespace"];
  const all = query.get("fields") === "all";
  const held = useSignal(false);
  const filter = { lines: NEWEST, level, task_type: type, namespace: only ? namespace.value : null };
  const found = useLogLines(filter, held);
  const hold = () => { held.value = !held.value; };
  useShortcut("p", held.value ? "Let the log move again" : "Hold the log still", hold);
  const actions = html`<button type="button" aria-pressed=${held.value ? "true" : "false"} onClick=${hold}>
    ${held.value ? html`Go on <span class="num">(${number(found.kept.value)} new)</span>` : "Hold still"}</button>`;
  return html`<${ViewHead} title="Log" actions=${actions}><span class="muted">Of the whole service; the tracker keeps its newest 10,000 lines</span></>
    <${Filter} level=${level} type=${type} only=${only} all=${all} /><${Content} found=${found} all=${all} />`;
}

/** The view. */
export const log = { path: "/log", title: "Log", key: "l", allowed: mayOperateAll, View: LogView };
