/**
 * Keyboard shortcuts: single keys (`r`) and pairs (`g t`). `?` shows those that work now.
 */
import { effect, signal, useLayoutEffect, useRef } from "../lib.js";
import { recall, remember } from "./remembering.js";

/** The shortcuts that work now: `{keys, title, act}`, in the order in which they came. */
export const shortcuts = signal([]);

const STORED = "raytasks.shortcuts";

/** Whether shortcuts are on. Who dictates, or hits keys by chance, can turn them off. */
export const shortcutsOn = signal(recall(STORED) !== "off");

effect(() => remember(STORED, shortcutsOn.value ? "on" : "off"));

const PAIR = 1200; // milliseconds between the keys of a pair
let first = "";
let firstAt = 0;

/** Adds a shortcut, and returns the function that removes it. */
export function addShortcut(keys, title, act) {
  const shortcut = { keys, title, act };
  shortcuts.value = [...shortcuts.peek(), shortcut];
  return () => { shortcuts.value = shortcuts.peek().filter((other) => other !== shortcut); };
}

/** Has a shortcut as soon as the component can be seen, and while it is; none if `act` is null. */
export function useShortcut(keys, title, act) {
  const latest = useRef(act);
  latest.current = act;
  const wanted = act !== null;
  useLayoutEffect(
    () => (wanted ? addShortcut(keys, title, () => latest.current?.()) : undefined),
    [keys, title, wanted],
  );
}

function isTyping(target) {
  return target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) &&
    target.type !== "checkbox";
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (!shortcutsOn.peek() || isTyping(event.target) || document.querySelector("dialog[open]")) return;
  const pair = event.timeStamp - firstAt < PAIR ? `${first} ${event.key}` : "";
  const known = shortcuts.peek();
  const found = known.findLast(({ keys }) => keys === pair) ??
    known.findLast(({ keys }) => keys === event.key);
  first = event.key;
  firstAt = event.timeStamp;
  if (!found) return;
  firstAt = 0;
  event.preventDefault();
  found.act();
});
