/**
 * Three ways to submit a task, for a page that has none: a form, curl, Python.
 */
import { html, useState } from "../lib.js";
import { ask, ROOT, urlOf } from "../core/api.js";
import { attempt } from "../core/notices.js";
import { inNamespace, may, needsKey } from "../core/session.js";
import { exampleOf } from "../core/schema_example.js";
import { useTaskTypes } from "../core/types.js";
import { shellQuoted } from "../core/curl.js";
import { CopyButton } from "./pieces.js";

function exampleText(type) {
  return JSON.stringify(exampleOf(type.payload_schema), null, 2);
}

function SubmitForm({ types }) {
  const [name, setName] = useState("");
  const type = types.find(({ task_type: other }) => other === name) ?? types[0];
  const [payload, setPayload] = useState(null);
  const submit = (event) => {
    event.preventDefault();
    const body = `{"task_type":${JSON.stringify(type.task_type)},"payload":${payload ?? exampleText(type)}}`;
    attempt(() => ask("POST", "/tasks/", { query: inNamespace(), body }), "Submitted");
  };
  if (!type) return html`<p class="muted">This version has no handlers.</p>`;
  return html`<form class="panel" onSubmit=${submit} aria-label="Submit a task"><h2>Here</h2>
    <label class="field">Task type
      <select value=${type.task_type} onChange=${(event) => { setName(event.target.value); setPayload(null); }}>
        ${types.map(({ task_type: other }) => html`<option value=${other} selected=${other === type.task_type}>${other}</option>`)}
      </select></label>
    <label class="field">Payload (JSON)
      <textarea rows="5" spellcheck=${false} value=${payload ?? exampleText(type)} onInput=${(event) => setPayload(event.target.value)}></textarea></label>
    <p class="buttons"><button type="submit" class="primary">Submit</button></p></form>`;
}

function Snippet({ title, text }) {
  return html`<section class="panel"><h2>${title}</h2><pre class="block" tabindex="0" role="region" aria-label=${title}>${text}</pre>
    <p class="buttons"><${CopyButton} text=${text} what=${title} /></p></section>`;
}

function curlText(body, key, space) {
  const url = urlOf("/tasks/", { namespace: space });
  return [
    `curl --json ${shellQuoted(body)}`,
    ...(key ? ['  --header "Authorization: Bearer $RAYTASKS_API_KEY"'] : []),
    `  ${shellQuoted(url)}`,
  ].join(" \\\n");
}

function pythonText(name, payload, key, space) {
  const options = [
    JSON.stringify(ROOT.href.replace(/\/$/, "")),
    ...(key ? ['api_key=os.environ["RAYTASKS_API_KEY"]'] : []),
    ...(space ? [`namespace=${JSON.stringify(space)}`] : []),
  ];
  const opened = options.length === 1 ? options[0] : `\n    ${options.join(",\n    ")},\n`;
  return [
    ...(key ? ["import os", ""] : []),
    "from raytasks.client import Client", "",
    `with Client(${opened}) as client:`,
    `    task = client.submit(${JSON.stringify(name)}, ${pythonOf(payload)})`,
    '    print(client.wait(task["task_id"])["state"])',
  ].join("\n");
}

/** A JSON value as Python writes it. */
function pythonOf(value) {
  const words = { true: "True", false: "False", null: "None", ",": ", ", ":": ": " };
  return JSON.stringify(value).replace(/"(?:[^"\\]|\\.)*"|true|false|null|[,:]/g, (token) => words[token] ?? token);
}

/** The three ways, for the first type of this service. */
export function WaysToSubmit() {
  const types = useTaskTypes();
  const name = types[0]?.task_type ?? "text_processing";
  const payload = types[0] ? exampleOf(types[0].payload_schema) : { text: "Hello." };
  const asked = inNamespace().namespace;
  const space = asked === "default" ? null : asked;
  const key = needsKey.value;
  return html`<section class="condition"><h2>No tasks yet</h2>
      <p>Submit the first one in any of these ways. It appears here by itself.</p></section>
    <div class="ways">
      ${may("submit") && html`<${SubmitForm} types=${types} />`}
      <${Snippet} title="With curl" text=${curlText(JSON.stringify({ task_type: name, payload }), key, space)} />
      <${Snippet} title="In Python" text=${pythonText(name, payload, key, space)} />
    </div>`;
}
