/**
 * The nodes of the cluster: what each has, and how much of that is used.
 */
import { html } from "../../lib.js";
import { href } from "../../core/router.js";
import { number } from "../../core/format.js";
import { Empty } from "../../parts/conditions.js";
import { Badge } from "../../parts/pieces.js";
import { resourceName, usedText } from "./resources.js";

function Resource({ name, item }) {
  const share = item.free === null || item.total === 0 ? null : (item.total - item.free) / item.total;
  return html`<span class="resource"><span>${resourceName(name)}</span>
    ${share !== null && html`<progress max="1" value=${share} aria-label=${`${resourceName(name)} used`}></progress>`}
    <span class="num">${usedText(name, item)}</span></span>`;
}

function stateOf(node) {
  if (node.leaving) return { tone: "calm", text: "leaving" };
  return node.alive ? { tone: "good", text: "alive" } : { tone: "bad", text: "dead" };
}

function Node({ node }) {
  const state = stateOf(node);
  const labels = Object.entries(node.labels).filter(([name]) => !name.startsWith("ray.io/node-id"));
  return html`<tr>
    <td><${Badge} tone=${state.tone}>${state.text}</></td>
    <td>${node.host || node.address}${node.head && html` <span class="tag">head</span>`}<br />
      <span class="muted mono" title=${node.node_id}>${node.node_id.slice(0, 12)}</span></td>
    <td>${node.address}</td>
    <td class="num">${node.runners.length > 0 ? html`<a href=${href("/runners", { node: node.node_id })}>${number(node.runners.length)}</a>` : "0"}</td>
    <td><div class="resources">${Object.entries(node.resources).map(([name, item]) => html`<${Resource} key=${name} name=${name} item=${item} />`)}</div></td>
    <td>${labels.map(([name, value]) => html`<span class="tag">${name}=${value}</span>`)}</td></tr>`;
}

function Coming({ coming }) {
  const types = Object.entries(coming).map(([name, many]) => `${number(many)} of type ${name}`);
  return types.length > 0 && html`<p class="muted" role="status">Ray's autoscaler is adding nodes: ${types.join(", ")}</p>`;
}

/** The nodes; `coming` is how many are being added, by type. */
export function Nodes({ nodes, coming }) {
  if (nodes.length === 0) {
    return html`<section class="list"><h2>Nodes</h2><${Empty} title="No node is known"><p>The service has not yet looked at its cluster, or runs without one.</p></></section>`;
  }
  return html`<section class="list"><h2>Nodes</h2><${Coming} coming=${coming} />
    <div class="scroll" tabindex="0" role="region" aria-label="Nodes"><table class="nodes">
    <thead><tr><th class="c-state">State</th><th class="c-name">Node</th><th class="c-where">Address</th>
      <th class="num c-version">Runners</th><th>Resources used</th><th class="c-labels">Labels</th></tr></thead>
    <tbody>${nodes.map((node) => html`<${Node} key=${node.node_id} node=${node} />`)}</tbody></table></div></section>`;
}
