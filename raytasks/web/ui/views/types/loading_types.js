/**
 * The task types with their figures, loaded for the views of types.
 */
import { get } from "../../core/api.js";
import { useLoad, useRefresh } from "../../core/loading.js";
import { inNamespace, mayOperateAll } from "../../core/session.js";

const LOOK_SECONDS = 10;

/** Returns the names of the types that are paused in all namespaces; null if one may not know. */
async function pausedTypes(abort) {
  if (!mayOperateAll()) return null;
  const { pauses } = await get("/pauses", {}, abort);
  return new Set(pauses.filter(({ namespace }) => namespace === null).map(({ task_type: type }) => type));
}

/** Returns `{types, stats, pauses}` as of `useLoad`; also what was changed meanwhile. */
export function useTypes() {
  const found = useLoad(async (abort) => {
    const [{ task_types: types }, stats, pauses] = await Promise.all([
      get("/task-types", {}, abort), get("/stats", inNamespace(), abort), pausedTypes(abort),
    ]);
    return { types, stats, pauses };
  });
  useRefresh(LOOK_SECONDS, found);
  return found;
}
