/**
 * Whether the tab is seen, and what time it is: a clock that stands still in hidden tabs.
 */
import { effect, signal } from "../lib.js";
import { clockAhead } from "./api.js";

/** Whether the tab is visible. */
export const visible = signal(document.visibilityState !== "hidden");

document.addEventListener("visibilitychange", () => {
  visible.value = document.visibilityState !== "hidden";
});

/** The service's time at this moment, in milliseconds since the epoch. */
export function clockNow() {
  return Date.now() + clockAhead.peek();
}

/** The service's time, in milliseconds since the epoch; it moves each second. */
export const now = signal(Date.now());

effect(() => {
  if (!visible.value) return undefined;
  const tick = () => { now.value = clockNow(); };
  tick();
  const timer = setInterval(tick, 1000);
  return () => clearInterval(timer);
});
