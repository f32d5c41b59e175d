/**
 * The theme: light, dark, or what the system prefers (`auto`). It is kept for this browser.
 */
import { effect, signal } from "../lib.js";

const STORED = "raytasks.theme";
const CHOICES = ["auto", "light", "dark"];

function stored() {
  try {
    const found = localStorage.getItem(STORED);
    return CHOICES.includes(found) ? found : "auto";
  } catch {
    return "auto"; // storage may be forbidden
  }
}

/** The chosen theme. */
export const theme = signal(stored());

effect(() => {
  document.documentElement.dataset.theme = theme.value;
  try {
    localStorage.setItem(STORED, theme.value);
  } catch { /* it is then kept for this page alone */ }
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
