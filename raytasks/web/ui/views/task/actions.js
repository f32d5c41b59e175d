/**
 * What can be done with a task: retry, change, cancel, delete, look at its stack, copy it as a command.
 */
import { html, useState } from "../../lib.js";
import { ask } from "../../core/api.js";
import { copy } from "../../core/copying.js";
import { curlOf } from "../../core/curl.js";
import { useShortcut } from "../../core/keyboard.js";
import { attempt } from "../../core/notices.js";
import { go } from "../../core/router.js";
import { inNamespace, may, needsKey } from "../../core/session.js";
import { ACTS, isWaiting } from "../../core/states.js";
import { confirm } from "../../parts/dialogs.js";
import { useStack } from "../../parts/stack.js";
import { ChangeForm } from "./change_form.js";

/** The buttons. `reload` loads the task again. */
export function Actions({ task, reload }) {
  const stack = useStack();
  const [changing, setChanging] = useState(null);
  const path = `/tasks/${task.task_id}`;
  const query = inNamespace();
  const operates = may("operate");
  const can = (action) => operates && ACTS[action].sources.includes(task.state);
  const retry = async () => {
    await attempt(() => ask("POST", `${path}/retry`, { query }), "Retried");
    reload();
  };
  const cancel = async () => {
    const message = await confirm({
      title: "Cancel this task?", act: "Cancel the task", danger: true, field: "Why (optional)",
      text: task.state === "RUNNING" ? "Its attempt is told to stop." : "",
    });
    if (message === null) return;
    await attempt(() => ask("POST", `${path}/cancel`, { query: { ...query, message: message || null } }), "Cancelled");
    reload();
  };
  const remove = async () => {
    const sure = await confirm({ title: "Delete this task for good?", act: "Delete the task", danger: true });
    if (sure !== null && await attempt(() => ask("DELETE", path, { query }), "Deleted")) go("/tasks");
  };
  const look = () => stack.look(task.task_id, query);
  const command = () => copy(curlOf(task, task.texts.payload, { ...query, key: needsKey.value }), "Command");
  const retryByKey = async () => {
    const sure = await confirm({ title: "Retry this task?", act: "Retry the task" });
    if (sure !== null) await retry(); // a key may be hit by chance
  };
  const changeable = may("submit") && isWaiting(task.state);
  useShortcut("e", "Change the task", changeable ? () => setChanging("change") : null);
  useShortcut("r", "Retry the task", can("retry") ? retryByKey : null);
  useShortcut("c", "Cancel the task", can("cancel") && !task.cancel_requested ? cancel : null);
  useShortcut("s", "Show the stack of the attempt", operates && task.state === "RUNNING" ? look : null);
  return html`<span class="buttons">
    ${can("retry") && html`<button type="button" class="primary" onClick=${retry}>Retry</button>`}
    ${can("retry") && html`<button type="button" onClick=${() => setChanging("retry")}>Retry with changes…</button>`}
    ${changeable && html`<button type="button" onClick=${() => setChanging("change")}>Change…</button>`}
    ${can("cancel") && html`<button type="button" disabled=${task.cancel_requested} onClick=${cancel}>${task.cancel_requested ? "Cancel requested" : "Cancel…"}</button>`}
    ${can("delete") && html`<button type="button" onClick=${remove}>Delete…</button>`}
    ${operates && task.state === "RUNNING" && html`<button type="button" onClick=${look}>Stack</button>`}
    ${task.hidden.length === 0 && html`<button type="button" onClick=${command}>Copy as curl</button>`}
    ${changing && html`<${ChangeForm} task=${task} retries=${changing === "retry"} onDone=${reload} onClose=${() => setChanging(null)} />`}
    ${stack.shown}</span>`;
}
