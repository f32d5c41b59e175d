/**
 * The filter's controls: states with their exact counts, and the other parts.
 */
import { html } from "../../lib.js";
import { number } from "../../core/format.js";
import { go, setQuery } from "../../core/router.js";
import { STATES } from "../../core/states.js";
import { useTaskTypes } from "../../core/types.js";
import { isNarrow } from "./filter.js";

const FROM_START = { cursor: null, seen: null };

/** Returns how many tasks of a type, or of all, are in each state. */
function countsOf(stats, taskType) {
  if (!stats) return {};
  return taskType ? stats.counts.by_type[taskType] ?? {} : stats.counts.by_state;
}

function StateChips({ filter, stats }) {
  const counts = countsOf(stats, filter.task_type);
  const toggle = (state) => {
    const on = filter.state.includes(state);
    const wanted = on ? filter.state.filter((other) => other !== state) : [...filter.state, state];
    setQuery({ state: wanted, ...FROM_START });
  };
  return html`<fieldset class="states"><legend class="off-screen">States</legend>
    ${STATES.map((state) => html`<button type="button" class="chip" data-state=${state}
      aria-pressed=${filter.state.includes(state) ? "true" : "false"} onClick=${() => toggle(state)}>
      ${state} <span class="num">${stats ? number(counts[state] ?? 0) : "–"}</span></button>`)}
  </fieldset>`;
}

function TypeField({ value, stats }) {
  const known = useTaskTypes().map(({ task_type: name }) => name);
  const counted = Object.keys(stats?.counts.by_type ?? {});
  const names = [...new Set([...known, ...counted, ...(value ? [value] : [])])].sort();
  return html`<label class="field">Task type
    <select value=${value} onChange=${(event) => setQuery({ task_type: event.target.value, ...FROM_START })}>
      <option value="">All types</option>
      ${names.map((name) => html`<option value=${name} selected=${name === value}>${name}</option>`)}
    </select></label>`;
}

function TextField({ name, label, value, placeholder, pattern }) {
  const change = (event) => {
    if (event.target.checkValidity()) setQuery({ [name]: event.target.value.trim(), ...FROM_START });
  };
  return html`<label class="field">${label}
    <input name=${name} value=${value} placeholder=${placeholder} pattern=${pattern} maxlength="100"
      spellcheck=${false} autocomplete="off" onChange=${change} /></label>`;
}

const two = (value) => String(value).padStart(2, "0");

/** The value of a local date field, of an RFC 3339 text. */
function toLocal(time) {
  const at = new Date(time);
  if (!time || Number.isNaN(at.getTime())) return "";
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}T${two(at.getHours())}:${two(at.getMinutes())}`;
}

function TimeField({ name, label, value }) {
  const change = (event) => {
    const at = new Date(event.target.value);
    const time = Number.isNaN(at.getTime()) ? null : at.toISOString().replace(".000", "");
    setQuery({ [name]: time, ...FROM_START });
  };
  return html`<label class="field">${label}
    <input type="datetime-local" name=${name} value=${toLocal(value)} onChange=${change} /></label>`;
}

/** The filter, with the counts of `GET /stats`. */
export function FilterBar({ filter, stats }) {
  return html`<section class="filter" aria-label="Filter">
    <${StateChips} filter=${filter} stats=${stats} />
    <div class="fields">
      <${TypeField} value=${filter.task_type} stats=${stats} />
      <${TextField} name="tag" label="Tag" value=${filter.tag} placeholder="any"
        pattern="[A-Za-z0-9_.:\\/=@+\\-]{1,64}" />
      <${TextField} name="error_type" label="Error class" value=${filter.error_type} placeholder="any, such as ValueError" />
      <${TimeField} name="created_after" label="Created from" value=${filter.created_after} />
      <${TimeField} name="created_before" label="Created before" value=${filter.created_before} />
      ${isNarrow(filter) && html`<button type="button" onClick=${() => go("/tasks")}>Clear filter</button>`}
    </div></section>`;
}
