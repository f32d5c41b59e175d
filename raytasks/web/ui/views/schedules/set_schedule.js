/**
 * The views that set a schedule: a new one, or other times and values of one that is there.
 */
import { html } from "../../lib.js";
import { ask } from "../../core/api.js";
import { useLoad } from "../../core/loading.js";
import { say } from "../../core/notices.js";
import { go, href } from "../../core/router.js";
import { inNamespace, may } from "../../core/session.js";
import { taskTypes } from "../../core/types.js";
import { Loaded } from "../../parts/conditions.js";
import { bodyParts, field, textsOf } from "../../parts/form_values.js";
import { JsonForm } from "../../parts/json_form.js";
import { ViewHead } from "../../parts/pieces.js";
import { loadSchedule } from "./loading_schedule.js";
import { Unknown } from "./schedule.js";
import { pathOf } from "./schedule_words.js";

const NAME = field("name", "line", "One schedule in its namespace; a letter first, then letters, digits, _ . -", { required: true });

/** The fields of the body, for the task types that there are. */
function fieldsFor(types) {
  const choice = (values) => values.map((value) => JSON.stringify(value));
  return [
    field("task_type", "choice", "What it submits", { required: true, choices: choice(types) }),
    field("cron", "line", "Minute, hour, day, month, weekday, as in 0 9 * * MON-FRI"),
    field("every_seconds", "number", "Instead of cron: seconds between two times"),
    field("timezone", "line", "That of cron, as in Europe/Berlin", { rule: { default: "UTC" } }),
    field("payload", "json", "The payload of each task"),
    field("catch_up", "choice", "Tasks for times that an outage missed", { choices: choice(["none", "last", "all"]), rule: { default: "none" } }),
    field("max_catch_up", "number", "With all: at most so many", { rule: { type: "integer", default: 100 } }),
    field("overlap", "choice", "While its last task is open", { choices: choice(["allow", "skip"]), rule: { default: "allow" } }),
    field("priority", "number", "Higher goes first", { rule: { type: "integer", minimum: -1000, maximum: 1000, default: 0 } }),
    field("tags", "line", "With spaces between them", { words: true }),
    field("max_attempts", "number", "How often a task may fail", { rule: { type: "integer", minimum: 1, maximum: 1000 } }),
    field("timeout_seconds", "number", "The time limit of each attempt"),
    field("expires_seconds", "number", "Cancel a task that has not begun so much later"),
    field("limit_values", "json", "Values of limits by a value", { rule: { type: "object" } }),
  ];
}

async function put(name, fields, values) {
  const parts = Object.entries(bodyParts(fields, values)).map(([key, json]) => `${JSON.stringify(key)}:${json}`);
  await ask("PUT", pathOf(name), { query: inNamespace(), body: `{${parts.join(",")}}` });
  return name;
}

function Form({ name, types, texts }) {
  const known = types.map(({ task_type: type }) => type);
  const own = texts && JSON.parse(texts.task_type);
  const body = fieldsFor(own && !known.includes(own) ? [...known, own] : known);
  const fields = name === null ? [NAME, ...body] : body;
  const check = (values) => (name !== null || values.name ? [] : [{ pointer: "/name", message: "give it a name" }]);
  const send = (values) => put(name ?? JSON.parse(values.name), body, values);
  const done = (set) => { say(`${set} is set`); go(pathOf(set)); };
  return html`<section class="panel"><p class="muted">What is set here goes before the code, and survives restarts and deployments.</p>
    <${JsonForm} label="Schedule" fields=${fields} start=${texts ? textsOf(body, texts) : {}} act="Set it" send=${send} check=${check} onDone=${done}
      onClose=${() => go(name === null ? "/schedules" : pathOf(name))} /></section>`;
}

/** Loads the types, and of a schedule that is there its values. */
async function load(name, abort) {
  const [types, schedule] = await Promise.all([taskTypes(), name === null ? {} : loadSchedule(name, abort)]);
  return { types: types.task_types, schedule };
}

function SetView({ name = null }) {
  const found = useLoad((abort) => load(name, abort), [name]);
  return html`<${ViewHead} title=${name === null ? "New schedule" : `Set ${name}`}><a href=${href("/schedules")}>All schedules</a></>
    <${Loaded} of=${found} what="the schedule">${({ types, schedule }) => (schedule === null
      ? html`<${Unknown} name=${name} />` : html`<${Form} name=${name} types=${types} texts=${schedule.texts} />`)}</>`;
}

/** The view of one that is there. */
export const setSchedule = { path: "/schedules/:name/set", allowed: () => may("operate"), View: SetView };

/** The view of a new one. No schedule has the name "+". */
export const newSchedule = { path: "/schedules/+", allowed: () => may("operate"), View: SetView };
