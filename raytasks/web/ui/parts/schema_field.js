/**
 * The fields of a form made from a JSON schema, each with its rule and the errors of the service.
 */
import { html, useId } from "../lib.js";
import { number } from "../core/format.js";
import { enteredOf, jsonOf } from "./form_values.js";

const MAX_ROWS = 12;
const NUMERIC = { minimum: "at least", maximum: "at most", exclusiveMinimum: "more than", exclusiveMaximum: "less than" };

/** A value as people write it: a text without its quotes. */
function shown(value) {
  return typeof value === "string" && value !== "" ? value : JSON.stringify(value);
}

/** The rule in words: "integer, 1 to 100, by default 3". */
function ruleText({ kind, rule, required, choices }) {
  const words = [];
  if (kind === "number") words.push(rule.type === "integer" ? "whole number" : "number");
  if (kind === "json") words.push(rule.type ? `${rule.type} as JSON` : "JSON");
  if (rule.format && kind === "line") words.push(rule.format);
  for (const [name, text] of Object.entries(NUMERIC)) if (rule[name] !== undefined) words.push(`${text} ${number(rule[name])}`);
  if (rule.minLength > 1) words.push(`${number(rule.minLength)} characters or more`);
  if (rule.maxLength) words.push(`at most ${number(rule.maxLength)} characters`);
  if (rule.maxItems) words.push(`at most ${number(rule.maxItems)} items`);
  if (!required && choices.length === 0) words.push(rule.default === undefined || rule.default === null ? "optional" : `by default ${shown(rule.default)}`);
  return words.join(", ");
}

/** How many lines a text takes, about. */
function rowsOf(text) {
  const lines = text.split("\n").reduce((sum, line) => sum + 1 + Math.floor(line.length / 70), 0);
  return Math.min(MAX_ROWS, lines);
}

function Control({ field, value, change, attributes }) {
  const { kind, rule, required, choices } = field;
  const entered = enteredOf(field, value);
  const onInput = (event) => change(jsonOf(field, event.target.value));
  const common = { ...attributes, name: field.name, onInput, spellcheck: false, autocomplete: "off" };
  if (kind === "choice") {
    const unset = rule.default === undefined || rule.default === null ? "not given" : `by default ${shown(rule.default)}`;
    return html`<select ...${attributes} name=${field.name} value=${entered} onChange=${onInput}>
      ${(!required || entered === "") && html`<option value="" selected=${entered === ""}>${required ? "choose" : unset}</option>`}
      ${choices.map((choice) => html`<option key=${choice} value=${choice} selected=${choice === entered}>${shown(JSON.parse(choice))}</option>`)}</select>`;
  }
  if (kind === "json") return html`<textarea ...${common} rows=${Math.max(3, rowsOf(entered))} value=${entered}></textarea>`;
  if (kind === "text") return html`<textarea ...${common} class="prose" rows=${rowsOf(entered)} spellcheck=${true} value=${entered}></textarea>`;
  if (kind === "secret") return html`<input ...${common} type="password" value=${entered} />`;
  return html`<input ...${common} inputmode=${kind === "number" ? "decimal" : "text"} value=${entered} />`;
}

/** A field. `change(json)` gets what was entered, as JSON or null; `problems` are texts. */
export function SchemaField({ field, value, change, problems = [] }) {
  const id = useId();
  const hint = ruleText(field);
  const told = problems.length > 0;
  const attributes = {
    id, "aria-invalid": told ? "true" : undefined, required: undefined, "aria-required": field.required ? "true" : undefined,
    "aria-describedby": `${id}-hint ${id}-problem`,
  };
  return html`<div class="schema-field">
    <label for=${id}><span class="mono">${field.name}</span>${field.required && html` <small>required</small>`}</label>
    <${Control} field=${field} value=${value} change=${change} attributes=${attributes} />
    <p id=${`${id}-hint`} class="muted">${field.description}${field.description && hint && " – "}${hint}</p>
    <p id=${`${id}-problem`} class="error-text">${problems.join("; ")}</p></div>`;
}
