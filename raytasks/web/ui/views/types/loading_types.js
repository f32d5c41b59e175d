/**
 * The task types with their figures, loaded for the views of types.
 */
import { get } from "../../core/api.js";
import { useEvery, useLoad } from "../../core/loading.js";
import { inNamespace } from "../../core/session.js";

const LOOK_SECONDS = 10;

/** Returns `{types, stats}` as of `useLoad`; also what a deployment has changed meanwhile. */
export function useTypes() {
  const found = useLoad(async (abort) => {
    const [{ task_types: types }, stats] = await Promise.all([
      get("/task-types", {}, abort), get("/stats", inNamespace(), abort),
    ]);
    return { types, stats };
  });
  useEvery(LOOK_SECONDS, found.reload);
  return found;
}
