/**
 * The feed of all tasks in the namespace that is shown: one connection for the whole page.
 */
import { effect, signal, untracked } from "../lib.js";
import { follow } from "./stream.js";
import { inNamespace, may, namespace, status } from "./session.js";

/** `off`, `connecting`, `live`, `away` (disconnected) or `paused`. */
export const connection = signal("off");

const listeners = new Set();

/**
 * Calls back for each change: `onChange(event)` with the event's JSON. `onGap()` is called where
 * changes may have been missed, also at the first connection: list again. Returns the function that
 * ends it.
 */
export function listen(onChange, onGap) {
  const listener = { onChange, onGap };
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function tellGap() {
  for (const listener of listeners) listener.onGap();
}

/** Begins to follow. The feed then starts over with each key and namespace. */
export function begin() {
  effect(() => {
    if (status.value !== "ready" || !may("read") || !namespace.value) {
      connection.value = "off";
      return undefined;
    }
    return untracked(() => follow("/tasks/events", {
      query: inNamespace(),
      onState: (state) => { connection.value = typeof state === "string" ? state : "off"; },
      onOpen: (resumed) => { if (!resumed) tellGap(); },
      onEvent: ({ type, data }) => {
        if (type === "gap") return tellGap();
        const change = JSON.parse(data);
        for (const listener of listeners) listener.onChange(change);
        return undefined;
      },
    }));
  });
}
