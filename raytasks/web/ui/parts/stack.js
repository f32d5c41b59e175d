/**
 * The Python stack of a running attempt, in a dialog.
 */
import { html, useState } from "../lib.js";
import { get } from "../core/api.js";
import { attempt } from "../core/notices.js";
import { Dialog } from "./dialogs.js";
import { CopyButton } from "./pieces.js";

/**
 * Returns `{look, shown}`: `look(taskId, query)` asks for the stack of a task's attempt and opens
 * the dialog, `shown` is the dialog. What cannot be had becomes a notice.
 */
export function useStack() {
  const [found, setFound] = useState(null);
  const look = async (id, query) => {
    const stack = await attempt(() => get(`/tasks/${id}/stack`, query));
    setFound(stack ? { ...stack, again: () => look(id, query) } : null);
  };
  const close = () => setFound(null);
  const shown = found && html`<${Dialog} title=${`Stack of attempt ${found.attempt}`} onClose=${close}>
    <pre class="block" tabindex="0" role="region" aria-label="Stack">${found.stack}</pre>
    <p class="buttons"><button type="button" onClick=${found.again}>Look again</button>
      <${CopyButton} text=${found.stack} what="stack" /><button type="button" onClick=${close}>Close</button></p></>`;
  return { look, shown };
}
