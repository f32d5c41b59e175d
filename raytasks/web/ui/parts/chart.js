/**
 * A chart over time: uPlot with the colours of the theme, and the same numbers as a table.
 */
import { html, useEffect, useRef, useState } from "../lib.js";
import uPlot from "../../vendor/uplot/dist/uPlot.iife.min.js";
import { clockTime } from "../core/format.js";
import { isDark, theme } from "../core/theme.js";

/** The strokes of lines that differ by no meaning: colours of tokens.css, each with its dashes. */
export const STROKES = [
  { colour: "line-1", dash: [] }, { colour: "line-2", dash: [7, 3] }, { colour: "line-3", dash: [2, 3] },
  { colour: "line-4", dash: [10, 3, 2, 3] }, { colour: "line-5", dash: [14, 4] }, { colour: "line-6", dash: [4, 2] },
  { colour: "calm", dash: [1, 2] },
];

const NARROW = 200;

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** The line's look, as the chart draws it. */
function Stroke({ line: { colour: name, dash = [] } }) {
  return html`<svg width="22" height="4" aria-hidden="true"><line x1="0" y1="2" x2="22" y2="2" stroke-width="2"
    stroke-dasharray=${dash.join(" ")} data-colour=${name} /></svg>`;
}

/** The options of uPlot, with the colours as they are now. */
function options({ width, height, lines, format, onLook }) {
  const axis = { stroke: colour("muted"), font: "11.5px system-ui, sans-serif", grid: { stroke: colour("line"), width: 1 }, ticks: { show: false } };
  return {
    width, height, legend: { show: false }, padding: [8, 24, 0, 0],
    cursor: { drag: { x: false, y: false }, y: false, sync: { key: "time" } },
    scales: { y: { range: (_plot, _min, max) => [0, max > 0 ? max * 1.08 : 1] } },
    axes: [
      { ...axis, size: 26, space: 70, values: (_plot, times) => times.map((time) => clockTime(time * 1000)) },
      { ...axis, size: 62, space: 34, values: (_plot, values) => values.map(format) },
    ],
    series: [{}, ...lines.map((line) => ({
      label: line.label, stroke: colour(line.colour), width: 2, dash: line.dash, points: { show: false },
    }))],
    hooks: { setCursor: [(plot) => onLook(plot.cursor.idx ?? null)] },
  };
}

function Numbers({ title, times, lines, format }) {
  const [open, setOpen] = useState(false);
  return html`<details onToggle=${(event) => setOpen(event.target.open)}><summary>As a table</summary>
    ${open && html`<div class="scroll numbers" tabindex="0" role="region" aria-label=${`Numbers: ${title}`}><table>
      <thead><tr><th>Time</th>${lines.map(({ label }) => html`<th class="num">${label}</th>`)}</tr></thead>
      <tbody>${times.map((time, index) => html`<tr><td class="num">${clockTime(time * 1000)}</td>
        ${lines.map(({ values }) => html`<td class="num">${values[index] === null ? "–" : format(values[index])}</td>`)}</tr>`).reverse()}</tbody>
    </table></div>`}</details>`;
}

/**
 * Draws `lines` (`{label, values, colour, dash}`; the colour is a name of tokens.css) over `times`
 * (seconds since the epoch). `format` makes a text of a value; null is a gap. The legend has the
 * values under the pointer, else the newest.
 */
export function Chart({ title, note, times, lines, height = 170, format = String }) {
  const box = useRef(null);
  const drawn = useRef(null);
  const [at, setAt] = useState(null);
  const data = [times, ...lines.map(({ values }) => values)];
  const shape = lines.map(({ label }) => label).join("\n");
  useEffect(() => {
    const place = box.current;
    const width = () => Math.max(NARROW, place.clientWidth);
    const plot = new uPlot(options({ width: width(), height, lines, format, onLook: setAt }), data, place);
    drawn.current = plot;
    const sizes = new ResizeObserver(() => plot.setSize({ width: width(), height }));
    sizes.observe(place);
    return () => { sizes.disconnect(); plot.destroy(); drawn.current = null; };
  }, [theme.value, isDark(), shape, height]);
  useEffect(() => { if (drawn.current && drawn.current.data !== data) drawn.current.setData(data); }, [times, lines]);
  const shown = ({ values }) => (at === null ? values.findLast((value) => value !== null) : values[at]) ?? null;
  return html`<figure class="chart"><figcaption><h3>${title}${note && html` <small>${note}</small>`}</h3>
      <ul class="legend">${lines.map((line) => html`<li key=${line.label}><${Stroke} line=${line} /> ${line.label}${" "}
        <b class="num">${shown(line) === null ? "–" : format(shown(line))}</b></li>`)}
        <li class="num at">${at === null ? "" : `at ${clockTime(times[at] * 1000)}`}</li></ul></figcaption>
    <div ref=${box} class="plot" aria-hidden="true"></div>
    <${Numbers} title=${title} times=${times} lines=${lines} format=${format} /></figure>`;
}
