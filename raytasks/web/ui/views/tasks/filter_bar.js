/**
 * The filter's controls: states with their exact counts, and the other parts.
 */
import { html } from "../../lib.js";
import { number } from "../../core/format.js";
import { go } from "../../core/router.js";
import { STATES } from "../../core/states.js";
import { useTaskTypes } from "../../core/types.js";
import { ChoiceField, narrow, TextField, TimeField } from "../../parts/url_fields.js";
import { isNarrow } from "./filter.js";

/** Returns how many tasks of a type, or of all, are in each state. */
function countsOf(stats, taskType) {
  if (!stats) return {};
  return taskType ? stats.counts.by_type[taskType] ?? {} : stats.counts.by_state;
}

/** States to choose from, with how many tasks (of a type, or of all) are in each. */
export function StateChips({ states, pressed, toggle, taskType, stats }) {
  const counts = countsOf(stats, taskType);
  return html`<fieldset class="states"><legend class="off-screen">States</legend>
    ${states.map((state) => html`<button type="button" class="chip" data-state=${state}
      aria-pressed=${pressed.includes(state) ? "true" : "false"} onClick=${() => toggle(state)}>
      ${state} <span class="num">${stats ? number(counts[state] ?? 0) : "–"}</span></button>`)}
  </fieldset>`;
}

function TypeField({ value, stats }) {
  const known = useTaskTypes().map(({ task_type: name }) => name);
  const counted = Object.keys(stats?.counts.by_type ?? {});
  const choices = [...new Set([...known, ...counted])].sort().map((name) => [name, name]);
  return html`<${ChoiceField} name="task_type" label="Task type" value=${value} all="All types" choices=${choices} />`;
}

/** The fields of the filter besides the states, for a row of fields. */
export function NarrowFields({ filter, stats }) {
  return html`<${TypeField} value=${filter.task_type} stats=${stats} />
    <${TextField} name="tag" label="Tag" value=${filter.tag} placeholder="any"
      pattern="[A-Za-z0-9_.:\\/=@+\\-]{1,64}" />
    <${TextField} name="error_type" label="Error class" value=${filter.error_type} placeholder="any, such as ValueError" />
    <${TimeField} name="created_after" label="Created from" value=${filter.created_after} />
    <${TimeField} name="created_before" label="Created before" value=${filter.created_before} />`;
}

/** The filter, with the counts of `GET /stats`. */
export function FilterBar({ filter, stats }) {
  const toggle = (state) => {
    const on = filter.state.includes(state);
    narrow({ state: on ? filter.state.filter((other) => other !== state) : [...filter.state, state] });
  };
  return html`<section class="filter" aria-label="Filter">
    <${StateChips} states=${STATES} pressed=${filter.state} toggle=${toggle} taskType=${filter.task_type} stats=${stats} />
    <div class="fields">
      <${NarrowFields} filter=${filter} stats=${stats} />
      ${isNarrow(filter) && html`<button type="button" onClick=${() => go("/tasks")}>Clear filter</button>`}
    </div></section>`;
}
