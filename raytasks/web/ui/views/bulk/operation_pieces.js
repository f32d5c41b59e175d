/**
 * Pieces that the views of bulk operations share.
 */
import { html } from "../../lib.js";
import { number } from "../../core/format.js";
import { Badge, ProgressBar } from "../../parts/pieces.js";

/** What operations do, by their action. */
export const ACTION_TITLES = { retry: "Retry", cancel: "Cancel", delete: "Delete" };

/** The state of an operation. One that is held is still RUNNING, and says that it waits. */
export function OperationState({ operation }) {
  if (operation.held_by) return html`<${Badge} tone="warn">HELD</>`;
  return html`<${Badge} tone=${operation.state === "DONE" ? "good" : "busy"}>${operation.state}</>`;
}

/** How many of the tasks that matched at the beginning it has passed. */
export function Passed({ operation }) {
  const { state, matched, looked_at: passed } = operation;
  const known = matched !== null && matched > 0;
  const fraction = state === "DONE" ? 1 : known ? Math.min(1, passed / matched) : null;
  return html`<span class="passed"><${ProgressBar} fraction=${fraction} label="Progress of the operation" />
    <span class="num muted">${number(passed)}${matched === null ? "" : ` of ${number(Math.max(matched, passed))}`}</span></span>`;
}
