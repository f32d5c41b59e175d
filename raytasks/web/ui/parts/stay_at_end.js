/**
 * A scrolling box that stays at its end while lines are added, unless one has scrolled up.
 */
import { useLayoutEffect, useRef } from "../lib.js";

const NEAR = 30; // pixels that count as the end

/**
 * Returns `{box, onScroll, leave}`: the ref and the handler of the box, and what lets it stay where
 * it is. It moves when `changed` has changed.
 */
export function useStayAtEnd(changed) {
  const box = useRef(null);
  const atEnd = useRef(true);
  useLayoutEffect(() => {
    if (atEnd.current && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [changed]);
  const onScroll = () => {
    if (!box.current) return; // the browser tells late, when the box has gone
    const { scrollTop, scrollHeight, clientHeight } = box.current;
    atEnd.current = scrollHeight - scrollTop - clientHeight < NEAR;
  };
  return { box, onScroll, leave: () => { atEnd.current = false; } };
}
