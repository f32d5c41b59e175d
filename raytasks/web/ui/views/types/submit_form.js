/**
 * A form made from the schema of a task type, to submit one task.
 */
import { html, useRef, useState } from "../../lib.js";
import { indented } from "../../core/json_text.js";
import { exampleOf } from "../../core/schema_example.js";
import { StateBadge, TaskLink } from "../../parts/pieces.js";
import { SchemaField } from "./fields.js";
import { fieldsOf, jsonProblem, numberJson, payloadOf, pointerOf, sortErrors, valuesOf } from "./form_values.js";
import { useSending } from "./sending.js";

const PAYLOAD = { name: "payload", kind: "json", rule: {}, required: true, description: "", choices: [] };
const OPTIONS = [
  { name: "tags", kind: "line", description: "Labels for lists and filters, with spaces between them", rule: {} },
  { name: "priority", kind: "number", description: "Higher goes first", rule: { type: "integer", minimum: -1000, maximum: 1000, default: 0 } },
  { name: "delay_seconds", kind: "number", description: "Run it so much later", rule: { type: "number" } },
  { name: "max_attempts", kind: "number", description: "How often it may fail", rule: { type: "integer", minimum: 1, maximum: 1000 } },
  { name: "timeout_seconds", kind: "number", description: "The time limit of each attempt", rule: { type: "number" } },
].map((option) => ({ required: false, choices: [], ...option }));

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
  const parts = [`"task_type":${JSON.stringify(type)}`, `"payload":${payload}`];
  for (const { name } of OPTIONS) {
    const json = options[name];
    if (json === null || json === undefined) continue;
    const tags = name === "tags" && JSON.stringify(JSON.parse(json).split(/\s+/).filter(Boolean));
    parts.push(`${JSON.stringify(name)}:${tags || json}`);
  }
  return `{${parts.join(",")}}`;
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
    <${StateBadge} state=${task.state} /> <${TaskLink} id=${task.task_id} whole=${true} /></li>`)}</ul>`;
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
    ...(draft.asJson ? ["/payload"] : fields.map(({ name }) => pointerOf(name))), ...OPTIONS.map(({ name }) => `/${name}`),
  ];
  const sorted = sortErrors(errors, pointers);

  const show = (found) => {
    setErrors(found);
    const hidden = OPTIONS.some(({ name }) => found.some(({ pointer }) => pointer.startsWith(`/${name}`)));
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
      : fields.map((field) => html`<${SchemaField} key=${field.name} field=${field} value=${draft.values[field.name]} problems=${sorted.fields[pointerOf(field.name)]}
        change=${(json) => setDraft((known) => ({ ...known, values: { ...known.values, [field.name]: json } }))} />`)}
    <details open=${draft.open} onToggle=${(event) => set({ open: event.target.open })}><summary>Tags, priority, delay and limits</summary>
      <div class="options">${OPTIONS.map((field) => html`<${SchemaField} key=${field.name} field=${field} value=${draft.options[field.name]} problems=${sorted.fields[`/${field.name}`]}
        change=${(json) => setDraft((known) => ({ ...known, options: { ...known.options, [field.name]: json } }))} />`)}</div></details>
    <div role="alert">${sorted.others.map((text) => html`<p class="error-text">${text}</p>`)}</div>
    <p class="buttons"><button type="submit" class="primary" aria-disabled=${busy ? "true" : undefined}>Submit</button></p>
    <${Sent} sent=${sent} /></form>`;
}
