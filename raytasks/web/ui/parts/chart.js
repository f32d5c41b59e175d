/**
 * A chart over time: uPlot with the colours of the theme. A table for screen readers goes with it.
 */
import { html, useEffect, useRef } from "../lib.js";
import uPlot from "../../vendor/uplot/dist/uPlot.iife.min.js";
import { theme } from "../core/theme.js";

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/**
 * Draws `lines` (`{label, values, colour}`; the colour is a name of tokens.css) over `times`
 * (seconds since the epoch). `format` makes a text of a value.
 */
export function Chart({ title, times, lines, height = 160, format = String }) {
  const box = useRef(null);
  const drawn = useRef(null);
  const data = [times, ...lines.map(({ values }) => values)];
  const shape = lines.map(({ label }) => label).join();
  useEffect(() => {
    const axis = { stroke: colour("muted"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false } };
    const width = () => Math.max(200, box.current.clientWidth);
    drawn.current = new uPlot({
      width: width(), height, legend: { show: false }, cursor: { drag: { x: false, y: false } },
      axes: [axis, { ...axis, size: 60, values: (_plot, values) => values.map(format) }],
      series: [{}, ...lines.map((line) => ({
        label: line.label, stroke: colour(line.colour), width: 2, points: { show: false },
      }))],
    }, data, box.current);
    const sizes = new ResizeObserver(() => drawn.current?.setSize({ width: width(), height }));
    sizes.observe(box.current);
    return () => { sizes.disconnect(); drawn.current.destroy(); drawn.current = null; };
  }, [theme.value, shape, height]);
  useEffect(() => { drawn.current?.setData(data); });
  const newest = ({ values }) => values.findLast((value) => value !== null);
  return html`<figure class="chart"><figcaption>${title}
      <span class="legend">${lines.map((line) => html`<span><i data-colour=${line.colour}></i>${line.label}${" "}
        <b class="num">${newest(line) === undefined ? "–" : format(newest(line))}</b></span>`)}</span></figcaption>
    <div ref=${box} aria-hidden="true"></div></figure>`;
}
