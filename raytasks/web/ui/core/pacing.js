/**
 * Pacing: an act that is asked for often is done soon, never twice at once, and then rests.
 */
import { useCallback, useEffect, useRef, useState } from "../lib.js";
import { visible } from "./visible.js";

const MIN_REST_MS = 500;

/**
 * Returns `soon(ms)`: it does the act in so many milliseconds, or earlier if that was asked before.
 *
 * `act` returns a promise of how many milliseconds it is to rest afterwards. Nothing is done in a
 * hidden tab.
 */
export function useSoon(act) {
  const latest = useRef(act);
  latest.current = act;
  const plan = useRef({ timer: 0, due: Infinity, busy: false, over: false, restUntil: 0 });
  useEffect(() => () => {
    clearTimeout(plan.current.timer);
    plan.current.over = true;
  }, []);
  return useCallback((ms) => {
    const it = plan.current;
    const due = Math.max(performance.now() + ms, it.restUntil);
    if (due >= it.due) return;
    it.due = due;
    if (!it.busy) arm(it, latest);
  }, []);
}

/**
 * Returns `{busy, run}`: `run(act)` does the act, unless one that was begun so has not ended yet.
 * `act` returns a promise. A button of it says `aria-disabled`: a disabled one loses the focus.
 */
export function useOneAtATime() {
  const [busy, setBusy] = useState(false);
  const running = useRef(false);
  const run = useCallback(async (act) => {
    if (running.current) return;
    running.current = true;
    setBusy(true);
    try {
      await act();
    } finally {
      running.current = false;
      setBusy(false);
    }
  }, []);
  return { busy, run };
}

function arm(it, latest) {
  clearTimeout(it.timer);
  it.timer = setTimeout(async () => {
    it.due = Infinity;
    if (!visible.peek()) return; // who asks is told again when the tab is seen
    it.busy = true;
    const rest = await latest.current();
    it.busy = false;
    if (it.over) return;
    it.restUntil = performance.now() + Math.max(MIN_REST_MS, rest);
    if (it.due < Infinity) {
      it.due = Math.max(it.due, it.restUntil);
      arm(it, latest);
    }
  }, Math.max(0, it.due - performance.now()));
}
