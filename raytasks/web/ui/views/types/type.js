/**
 * The view of one task type: what it does, how it is run, its numbers, and a form to submit one.
 */
import { html } from "../../lib.js";
import { href } from "../../core/router.js";
import { may } from "../../core/session.js";
import { Condition, Loaded } from "../../parts/conditions.js";
import { JsonBlock } from "../../parts/json_block.js";
import { ViewHead } from "../../parts/pieces.js";
import { Counts, Went } from "../overview/figures.js";
import { useTypes } from "./loading_types.js";
import { Policy } from "./policy.js";
import { SubmitForm } from "./submit_form.js";

function Unknown({ name }) {
  return html`<${Condition} kind="missing" title="Not found">
    <p>This version has no handler for <code>${name}</code>. Its tasks may still be <a href=${href("/tasks", { task_type: name })}>in the list</a>.</p>
    <p><a href=${href("/types")}>All types</a></p></>`;
}

/** A text of a docstring: paragraphs, with `code`. */
function paragraphs(text) {
  return text.split(/\n\s*\n/).map((part) => html`<p>${part.replace(/\s*\n\s*/g, " ").split(/`([^`]+)`/)
    .map((piece, index) => (index % 2 ? html`<code>${piece}</code>` : piece))}</p>`);
}

function Described({ text }) {
  const [summary, ...more] = paragraphs(text);
  return html`<div class="described">${summary}
    ${more.length > 0 && html`<details><summary>More about it</summary><div>${more}</div></details>`}</div>`;
}

function TypeView({ name }) {
  const found = useTypes();
  const type = found.data?.types.find((one) => one.task_type === name);
  const links = html`<span class="buttons"><a href=${href("/overview", { task_type: name })}>Over time</a>
    <a href=${href("/errors", { task_type: name })}>Errors</a></span>`;
  return html`<${ViewHead} title=${name} actions=${type && links}><a href=${href("/types")}>All types</a></>
    <${Loaded} of=${found} what="the type">${({ stats }) => (type ? html`
      ${type.description && html`<${Described} text=${type.description} />`}
      <${Counts} stats=${stats} taskType=${name} />
      <div class="columns top">
        ${may("submit") && html`<${SubmitForm} key=${name} type=${type} />`}
        <div class="stack">
          <${Policy} type=${type} />
          <${Went} window=${stats.by_type[name]?.hour} over="hour" />
          <section class="panel"><h2>Schema of the payload</h2><${JsonBlock} text=${JSON.stringify(type.payload_schema)} what="schema" /></section>
        </div></div>` : html`<${Unknown} name=${name} />`)}</>`;
}

/** The view. */
export const type = { path: "/types/:name", allowed: () => may("read"), View: TypeView };
