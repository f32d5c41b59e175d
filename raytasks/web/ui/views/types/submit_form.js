/**
 * A form made from the schema of a task type, to submit one task.
 */
import { html, useRef, useState } from "../../lib.js";
import { indented } from "../../core/json_text.js";
import { exampleOf } from "../../core/schema_example.js";
import { bodyParts, field, fieldsOf, jsonProblem, payloadOf, placeOf, pointerOf, sortErrors, valuesOf } from "../../parts/form_values.js";
import { StateBadge, TaskLink } from "../../parts/pieces.js";
import { SchemaField } from "../../parts/schema_field.js";
import { useSending } from "./sending.js";

const PAYLOAD = field("payload", "json", "", { required: true });
const OPTIONS = [
  field("tags", "line", "Labels for lists and filters, with spaces between them", { words: true }),
  field("priority", "number", "Higher goes first", { rule: { type: "integer", minimum: -1000, maximum: 1000, default: 0 } }),
  field("delay_seconds", "number", "Run it so much later"),
  field("max_attempts", "number", "How often it may fail", { rule: { type: "integer", minimum: 1, maximum: 1000 } }),
  field("timeout_seconds", "number", "The time limit of each attempt"),
  field("expires_seconds", "number", "Cancel it if it has not begun so much later"),
  field("callback_url", "line", "The URL that is told of its end", { rule: { format: "uri" } }),
  field("unique.key", "line", "Only one open task of the type has it"),
  field("unique.until", "choice", "Until when its task holds the key", { choices: ['"finished"', '"started"'], rule: { default: "finished" } }),
  field("unique.seconds", "number", "It is held at most so long"),
  field("unique.on_conflict", "choice", "If another task holds the key", { choices: ['"return"', '"reject"', '"replace"'], rule: { default: "return" } }),
];

function exampleText(schema) {
  return JSON.stringify(exampleOf(schema));
}

/** What the form begins with: the schema's own example, if it has one. */
function startOf(fields, schema) {
  const own = schema?.examples?.[0];
  const text = own === undefined ? (fields ? "{}" : exampleText(schema)) : JSON.stringify(own);
  return { asJson: fields === null, values: (fields && valuesOf(text)) ?? {}, text: indented(text), options: {}, open: false };
}

/** The JSON text of a submission. */
function bodyOf(type, payload, options) {
  const parts = { task_type: JSON.stringify(type), payload, ...bodyParts(OPTIONS, options) };
  return `{${Object.entries(parts).map(([name, json]) => `${JSON.stringify(name)}:${json}`).join(",")}}`;
}

/** Errors that are found here: texts that are no JSON. */
function ownErrors(draft, fields) {
  const texts = draft.asJson ? [["/payload", draft.text]]
    : fields.filter(({ kind, name }) => kind === "json" && draft.values[name]).map(({ name }) => [pointerOf(name), draft.values[name]]);
  return texts.flatMap(([pointer, text]) => {
    const message = jsonProblem(text);
    return message ? [{ pointer, message }] : [];
  });
}

function Sent({ sent }) {
  return html`<ul class="sent" aria-label="Submitted here">${sent.map((task) => html`<li key=${task.task_id}>
    <${StateBadge} state=${task.state} /> <${TaskLink} id=${task.task_id} whole=${true} />
    ${task.duplicate && html` <span class="muted">not new: it holds the unique key</span>`}</li>`)}</ul>`;
}

/** The form for a type, as `GET /task-types` describes it. */
export function SubmitForm({ type }) {
  const fields = fieldsOf(type.payload_schema);
  const [draft, setDraft] = useState(() => startOf(fields, type.payload_schema));
  const [errors, setErrors] = useState([]);
  const form = useRef(null);
  const { submit, busy, sent } = useSending();
  const set = (changes) => setDraft((known) => ({ ...known, ...changes }));
  const pointers = [
    ...(draft.asJson ? ["/payload"] : fields.map(({ name }) => pointerOf(name))), ...OPTIONS.map(placeOf),
  ];
  const sorted = sortErrors(errors, pointers);

  const show = (found) => {
    setErrors(found);
    const hidden = OPTIONS.some((option) => found.some(({ pointer }) => pointer.startsWith(placeOf(option))));
    if (hidden) set({ open: true });
    requestAnimationFrame(() => form.current?.querySelector("[aria-invalid=true]")?.focus());
  };
  const onSubmit = async (event) => {
    event.preventDefault();
    const own = ownErrors(draft, fields);
    if (own.length > 0) return show(own);
    const error = await submit(bodyOf(type.task_type, draft.asJson ? draft.text : payloadOf(draft.values), draft.options));
    return show(error?.errors ?? []);
  };
  const fill = () => {
    const text = exampleText(type.payload_schema);
    set({ text: indented(text), values: (fields && valuesOf(text)) ?? draft.values });
    setErrors([]);
  };
  const turn = () => {
    if (!draft.asJson) set({ asJson: true, text: indented(payloadOf(draft.values)) });
    else {
      const values = valuesOf(draft.text);
      if (values === null) return show([{ pointer: "/payload", message: jsonProblem(draft.text) ?? "a form needs a JSON object" }]);
      set({ asJson: false, values });
    }
    return setErrors([]);
  };
  return html`<form class="panel" ref=${form} onSubmit=${onSubmit} aria-label=${`Submit ${type.task_type}`} noValidate=${true}>
    <h2>Submit one<span class="space"></span>
      <button type="button" class="small" onClick=${fill}>Fill in an example</button>
      ${fields && html`<button type="button" class="small" onClick=${turn}>${draft.asJson ? "As a form" : "As JSON"}</button>`}</h2>
    ${draft.asJson
      ? html`<${SchemaField} field=${PAYLOAD} value=${draft.text} change=${(text) => set({ text: text ?? "" })} problems=${sorted.fields["/payload"]} />`
      : fields.map((member) => html`<${SchemaField} key=${member.name} field=${member} value=${draft.values[member.name]} problems=${sorted.fields[pointerOf(member.name)]}
        change=${(json) => setDraft((known) => ({ ...known, values: { ...known.values, [member.name]: json } }))} />`)}
    <details open=${draft.open} onToggle=${(event) => set({ open: event.target.open })}><summary>Tags, priority, delay, limits, expiry, callback, unique key</summary>
      <div class="options">${OPTIONS.map((option) => html`<${SchemaField} key=${option.name} field=${option} value=${draft.options[option.name]} problems=${sorted.fields[placeOf(option)]}
        change=${(json) => setDraft((known) => ({ ...known, options: { ...known.options, [option.name]: json } }))} />`)}</div></details>
    <div role="alert">${sorted.others.map((text) => html`<p class="error-text">${text}</p>`)}</div>
    <p class="buttons"><button type="submit" class="primary" aria-disabled=${busy ? "true" : undefined}>Submit</button></p>
    <${Sent} sent=${sent} /></form>`;
}
