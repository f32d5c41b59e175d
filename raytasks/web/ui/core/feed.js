/**
 * The feed of all tasks in the namespace that is shown, and the one connection of the page.
 *
 * A browser opens six connections to an address for all of its windows. So the feed rests while a
 * view follows a stream of its own, and goes on after the last event that it has seen.
 */
import { computed, effect, signal, untracked } from "../lib.js";
import { follow } from "./stream.js";
import { inNamespace, may, namespace, status } from "./session.js";

const feedState = signal("off");

/** The view's own stream that is followed in place of the feed, as a signal of its state; or null. */
const instead = signal(null);

/** `off`, `connecting`, `live`, `away` (disconnected) or `paused`. */
export const connection = computed(() => (instead.value ?? feedState).value);

/** Follows a stream as `follow` does, in place of the feed. */
export function followInstead(path, options) {
  const mine = signal("connecting");
  const release = () => { if (instead.peek() === mine) instead.value = null; };
  instead.value = mine;
  const stop = follow(path, {
    ...options,
    onState: (state) => {
      options.onState?.(state);
      if (state === "ended" || typeof state !== "string") release();
      else mine.value = state;
    },
  });
  return () => { stop(); release(); };
}

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
      feedState.value = "off";
      return undefined;
    }
    return untracked(() => follow("/tasks/events", {
      query: inNamespace(),
      rests: computed(() => instead.value !== null),
      onState: (state) => { feedState.value = typeof state === "string" ? state : "off"; },
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
