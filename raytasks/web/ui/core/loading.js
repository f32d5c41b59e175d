/**
 * Loading for a view: what it loads, whether it is there, and what went wrong.
 */
import { useCallback, useEffect, useRef, useState } from "../lib.js";
import { visible } from "./visible.js";

/**
 * Loads when the view comes, and when `deps` change. `load(abort)` returns a promise.
 *
 * Returns `{data, error, loading, reload}`. While it loads again, the last data stay; `error` is of
 * the last try. What is not wanted any more is aborted. `reload()` returns when it is there. With
 * `keep` the data also stay when `deps` have changed, until the new ones come.
 */
export function useLoad(load, deps = [], { keep = false } = {}) {
  const [state, setState] = useState({ data: undefined, error: null, loading: true });
  const running = useRef(null);
  const reload = useCallback(async () => {
    running.current?.abort();
    const abort = new AbortController();
    running.current = abort;
    try {
      const data = await load(abort.signal);
      if (!abort.signal.aborted) setState({ data, error: null, loading: false });
    } catch (error) {
      if (abort.signal.aborted) return;
      if (!("kind" in error)) throw error;
      setState((last) => ({ data: last.data, error, loading: false }));
    }
  }, deps);
  useEffect(() => {
    setState((last) => ({ data: keep ? last.data : undefined, error: null, loading: true }));
    reload();
    return () => running.current?.abort();
  }, [reload]);
  return { ...state, reload };
}

/** Calls `act` every so many seconds, while the tab is visible, and at once when it is again. */
export function useEvery(seconds, act) {
  const latest = useRef(act);
  latest.current = act;
  useEffect(() => {
    let timer = 0;
    const run = () => { if (visible.peek()) latest.current(); };
    timer = setInterval(run, seconds * 1000);
    const stop = visible.subscribe((seen) => { if (seen && timer) run(); });
    return () => { clearInterval(timer); stop(); };
  }, [seconds]);
}
