/**
 * The lines of the service's log as they come, from the newest of before on.
 */
import { signal, useEffect, useMemo } from "../../lib.js";
import { followInstead } from "../../core/feed.js";

/** How many lines are shown at most; the oldest go first. */
export const MOST = 2000;

const TOGETHER_MS = 50;

/** Puts lines after those that are there. A gap is a line of its own, without a message. */
function merged(known, fresh) {
  const all = known.concat(fresh);
  return all.length > MOST ? all.slice(-MOST) : all;
}

/**
 * Follows the log with a filter (`{lines, level, task_type, namespace}`).
 *
 * Returns the signals `{lines, state, kept}`: the lines, null until they are known, with
 * `{gap: true, id}` among them where some are gone; the state as of `follow`; and how many lines that
 * came are kept back while `held` (a signal) is true. Those that were there before are shown.
 */
export function useLogLines(filter, held) {
  const key = JSON.stringify(filter);
  const found = useMemo(() => ({ lines: signal(null), state: signal("connecting"), kept: signal(0) }), [key]);
  useEffect(() => {
    let fresh = [];
    let gaps = 0;
    let timer = 0;
    const flush = () => {
      timer = 0;
      if (held.peek() && found.lines.peek() !== null) { found.kept.value = fresh.length; return; }
      found.lines.value = merged(found.lines.peek() ?? [], fresh);
      found.kept.value = 0;
      fresh = [];
    };
    const add = (line) => {
      fresh.push(line);
      if (fresh.length > MOST) fresh.shift();
      timer ||= setTimeout(flush, TOGETHER_MS);
    };
    const stop = followInstead("/logs", {
      query: filter,
      onState: (state) => { found.state.value = state; },
      onOpen: (resumed) => { if (!resumed) { found.lines.value = null; fresh = []; } },
      onRead: () => { if (fresh.length === 0) found.lines.value ??= []; },
      onEvent: ({ type, data }) => {
        if (type === "gap") { gaps += 1; add({ gap: true, id: `gap ${gaps}` }); }
        if (type === "line") add(JSON.parse(data));
      },
    });
    const unhold = held.subscribe((is) => { if (!is && fresh.length > 0) flush(); });
    return () => { stop(); unhold(); clearTimeout(timer); };
  }, [key]);
  return found;
}
