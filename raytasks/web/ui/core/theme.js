/**
 * The theme: light, dark, or what the system prefers (`auto`). It is kept for this browser.
 */
import { effect, signal } from "../lib.js";
import { recall, remember } from "./remembering.js";

const STORED = "raytasks.theme";
const CHOICES = ["auto", "light", "dark"];

/** The chosen theme. */
export const theme = signal(CHOICES.includes(recall(STORED)) ? recall(STORED) : "auto");

effect(() => {
  document.documentElement.dataset.theme = theme.value;
  remember(STORED, theme.value);
});

/** Whether the page is dark now. Charts ask; they draw without CSS. */
export function isDark() {
  if (theme.value !== "auto") return theme.value === "dark";
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

/** Chooses the next theme. */
export function nextTheme() {
  theme.value = CHOICES[(CHOICES.indexOf(theme.value) + 1) % CHOICES.length];
}
