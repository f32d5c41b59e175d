/**
 * The form that gives a task other values: one that waits, or one that is to be retried.
 */
import { html, useState } from "../../lib.js";
import { ask } from "../../core/api.js";
import { say } from "../../core/notices.js";
import { inNamespace } from "../../core/session.js";
import { Dialog } from "../../parts/dialogs.js";
import { bodyParts, field, textsOf } from "../../parts/form_values.js";
import { JsonForm } from "../../parts/json_form.js";

const WHOLE = { type: "integer", minimum: 1, maximum: 1000 };
const TIME = { format: "date-time" };

const FIELDS = [
  field("priority", "number", "Higher goes first", { rule: { type: "integer", minimum: -1000, maximum: 1000 } }),
  field("run_at", "line", "When it is due, with its time zone", { rule: TIME }),
  field("delay_seconds", "number", "Instead: due so much later than now; 0 is now"),
  field("tags", "line", "All its tags, with spaces between them", { words: true }),
  field("payload", "json", "What its handler gets"),
  field("max_attempts", "number", "How often it may fail; empty: as its handler says", { rule: WHOLE }),
  field("timeout_seconds", "number", "The time limit of each attempt; empty: as its handler says"),
  field("expires_at", "line", "Cancel it if it has not begun by then; empty: never", { rule: TIME }),
];
const EMPTIED = { max_attempts: "null", timeout_seconds: "null", expires_at: "null", tags: '""' };

/** The texts that differ from those of the task; an emptied one is left out, or what that means. */
function changed(values, start) {
  const names = FIELDS.map(({ name }) => name).filter((name) => (values[name] ?? null) !== (start[name] ?? null));
  const pairs = names.map((name) => [name, values[name] ?? EMPTIED[name] ?? null]);
  return Object.fromEntries(pairs.filter(([, json]) => json !== null));
}

/** What the form begins with. A retry is due at once, unless one says when. */
function startOf(task, fields, retries) {
  const start = textsOf(fields, task.texts);
  return retries ? { ...start, run_at: null, expires_at: null } : start;
}

function bodyOf(values) {
  return `{${Object.entries(bodyParts(FIELDS, values)).map(([name, json]) => `${JSON.stringify(name)}:${json}`).join(",")}}`;
}

/**
 * The dialog. With `retries` the task is retried with what was changed; else it is changed if it
 * still has the revision that is shown. `onDone` is called after either, `onClose` when it closes.
 */
export function ChangeForm({ task: now, retries, onDone, onClose }) {
  const [task] = useState(now); // the view loads it again, and the revision is that of what one sees here
  const fields = FIELDS.filter(({ name }) => (name !== "payload" || task.hidden.length === 0) && (name !== "expires_at" || task.attempt === 0));
  const start = startOf(task, fields, retries);
  const check = (values) => (retries || Object.keys(changed(values, start)).length > 0
    ? [] : [{ pointer: "/priority", message: "nothing is different yet" }]);
  const send = (values) => {
    const body = bodyOf(changed(values, start));
    const path = `/tasks/${task.task_id}`;
    if (retries) return ask("POST", `${path}/retry`, { query: inNamespace(), body });
    return ask("PATCH", path, { query: inNamespace(), body, headers: { "If-Match": `"${task.revision}"` } });
  };
  const done = () => { say(retries ? "Retried" : "Changed"); onDone(); onClose(); };
  return html`<${Dialog} title=${retries ? "Retry with other values" : "Change this task"} onClose=${onClose}>
    <p class="muted">Only what you change is sent.${task.hidden.length > 0 && " The payload cannot be changed here, as a part of it is hidden."}</p>
    <${JsonForm} label="New values" fields=${fields} start=${start} act=${retries ? "Retry it" : "Change it"} send=${send} check=${check} onDone=${done} onClose=${onClose} /></>`;
}
