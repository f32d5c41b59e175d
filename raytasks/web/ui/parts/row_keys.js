/**
 * Keys that move between the rows of a table: `j` and `k`, from link to link.
 */
import { useState } from "../lib.js";
import { useShortcut } from "../core/keyboard.js";

/**
 * Has the keys for the rows in `body` (a ref); `link` selects the link of each. `what` is the name
 * of a row. Returns the function that gives the row with the focus, or null.
 */
export function useRowKeys(body, link, what) {
  const [at, setAt] = useState(-1);
  const move = (step) => {
    const links = [...body.current.querySelectorAll(link)];
    const here = links.indexOf(document.activeElement);
    const next = Math.min(links.length - 1, Math.max(0, (here < 0 ? at : here) + step));
    links[next]?.focus();
    setAt(next);
  };
  useShortcut("j", `Next ${what}`, () => move(1));
  useShortcut("k", `${what[0].toUpperCase()}${what.slice(1)} before`, () => move(-1));
  return () => (body.current.contains(document.activeElement) ? document.activeElement.closest("tr") : null);
}
