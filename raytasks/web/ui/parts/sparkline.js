/**
 * A line of bars in a table's cell: numbers over time, without axes.
 */
import { html } from "../lib.js";
import { number } from "../core/format.js";

const WIDTH = 4;
const GAP = 1;
const HEIGHT = 22;

/** The bars of `values`; `label` says in words what they are. `titleOf(index)` names a bar. */
export function Sparkline({ values, label, titleOf }) {
  const most = Math.max(1, ...values);
  const width = values.length * (WIDTH + GAP) - GAP;
  return html`<svg class="sparkline" role="img" aria-label=${label} width=${width} height=${HEIGHT} viewBox=${`0 0 ${width} ${HEIGHT}`}>
    <line x1="0" x2=${width} y1=${HEIGHT - 0.5} y2=${HEIGHT - 0.5} />
    ${values.map((value, index) => {
      const high = value === 0 ? 0 : Math.max(2, Math.round((value / most) * (HEIGHT - 2)));
      return html`<g key=${index}><title>${titleOf(index)}: ${number(value)}</title>
        <rect class="ground" x=${index * (WIDTH + GAP)} y="0" width=${WIDTH + GAP} height=${HEIGHT} />
        <rect x=${index * (WIDTH + GAP)} y=${HEIGHT - 1 - high} width=${WIDTH} height=${high} /></g>`;
    })}</svg>`;
}
