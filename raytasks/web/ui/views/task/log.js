/**
 * The lines that a task's handler has logged, live. The newest are shown; older ones if asked for.
 */
import { html, useState } from "../../lib.js";
import { localTime, number } from "../../core/format.js";
import { Loading } from "../../parts/conditions.js";
import { CopyButton } from "../../parts/pieces.js";
import { useStayAtEnd } from "../../parts/stay_at_end.js";

const STEP = 500;

const text = ({ attempt, level, at, message }) => `${at} ${attempt} ${level} ${message}`;

/** The log. `lines` is a signal of its lines. It stays at its end if it was there. */
export function Log({ lines, live }) {
  const [wanted, setWanted] = useState(STEP);
  const all = lines.value ?? [];
  const shown = all.slice(-wanted);
  const end = useStayAtEnd(all.length);
  if (lines.value === null) return html`<${Loading} what="the log" />`;
  if (all.length === 0) {
    return html`<p class="muted">${live ? "No line yet. They appear here as the handler logs them." : "The handler has logged nothing."}</p>`;
  }
  return html`<div class="log" ref=${end.box} onScroll=${end.onScroll} tabindex="0" role="log" aria-live="off" aria-label="Log">
      ${all.length > shown.length && html`<p><button type="button" class="small" onClick=${() => { end.leave(); setWanted(wanted + STEP * 4); }}>Older lines: ${number(all.length - shown.length)} more</button></p>`}
      ${shown.map((line, index) => html`${line.attempt !== shown[index - 1]?.attempt && html`<h3>Attempt ${line.attempt}</h3>`}<div key=${all.length - shown.length + index} data-level=${line.level} title=${`Attempt ${line.attempt}, ${localTime(line.at)}`}>
        <span class="muted">${localTime(line.at, { millis: true }).slice(11)}</span><b>${line.level}</b><span>${line.message}</span></div>`)}
    </div>
    <p class="buttons"><span class="muted num">${number(all.length)} ${all.length === 1 ? "line" : "lines"}</span><${CopyButton} text=${() => all.map(text).join("\n")} what="log" /></p>`;
}
