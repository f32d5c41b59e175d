/**
 * Loading for a view: what it loads, whether it is there, and what went wrong.
 */
import { useCallback, useEffect, useRef, useState } from "../lib.js";
import { visible } from "./visible.js";

const MAX_OPEN_MS = 20_000; // what takes longer hangs, and is tried again

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
      const ours = !("kind" in error); // a mistake of the page, or an answer that it does not understand
      const told = ours ? { kind: "broken", message: error.message } : error;
      setState((last) => ({ data: last.data, error: told, loading: false }));
      if (ours) throw error;
    }
  }, deps);
  useEffect(() => {
    setState((last) => ({ data: keep ? last.data : undefined, error: null, loading: true }));
    reload();
    return () => running.current?.abort();
  }, [reload]);
  return { ...state, reload };
}

/**
 * Calls `act` every so many seconds, while the tab is visible, and at once when it is again. The
 * first call comes after that time. `act` may return a promise: it is not called while one is open.
 */
export function useEvery(seconds, act) {
  const latest = useRef(act);
  latest.current = act;
  useEffect(() => {
    let seen = visible.peek();
    let began = -Infinity;
    const run = async () => {
      if (!visible.peek() || performance.now() - began < MAX_OPEN_MS) return;
      began = performance.now();
      try {
        await latest.current();
      } finally {
        began = -Infinity;
      }
    };
    const timer = setInterval(run, seconds * 1000);
    const stop = visible.subscribe((is) => {
      const again = is && !seen; // a subscription is called at once, too
      seen = is;
      if (again) run();
    });
    return () => { clearInterval(timer); stop(); };
  }, [seconds]);
}

/** Loads again every so many seconds what `useLoad` has loaded. While the service is away, `Loaded` does. */
export function useRefresh(seconds, { error, reload }) {
  useEvery(seconds, () => (error?.kind === "away" ? undefined : reload()));
}
