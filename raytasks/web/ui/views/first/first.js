/**
 * The first place, "/": it leads to the overview, or where there are no tasks, to the list that says
 * how to submit one.
 */
import { html, useEffect } from "../../lib.js";
import { get } from "../../core/api.js";
import { useLoad } from "../../core/loading.js";
import { go } from "../../core/router.js";
import { inNamespace, may } from "../../core/session.js";
import { Loaded } from "../../parts/conditions.js";

function FirstView() {
  const stats = useLoad((abort) => get("/stats", inNamespace(), abort));
  useEffect(() => {
    if (!stats.data) return;
    const some = Object.values(stats.data.counts.by_state).some((count) => count > 0);
    go(some ? "/overview" : "/tasks", {}, { replace: true });
  }, [stats.data]);
  return html`<${Loaded} of=${stats} what="the service">${() => null}</>`;
}

/** The view. */
export const first = { path: "/", allowed: () => may("read"), View: FirstView };
