/**
 * The shell around all views: skip link, header, the view of the place, dialogs and notices.
 */
import { html, useLayoutEffect, useRef } from "../lib.js";
import { addShortcut } from "../core/keyboard.js";
import { go, place } from "../core/router.js";
import { begin, failure, me, namespace, status } from "../core/session.js";
import { nextTheme } from "../core/theme.js";
import { shownViews, viewOf } from "../views/registry.js";
import { Condition, Failure, Loading } from "./conditions.js";
import { Questions } from "./dialogs.js";
import { Header } from "./header.js";
import { Help, helpOpen } from "./help.js";
import { NoticeList } from "./notice_list.js";
import { SignIn } from "./sign_in.js";

function Content() {
  if (status.value === "loading") return html`<${Loading} />`;
  if (status.value === "key") return html`<${SignIn} />`;
  if (status.value === "failed") return html`<${Failure} error=${failure.value} retry=${begin} />`;
  const found = viewOf(place.value.path);
  if (!found) {
    return html`<${Condition} kind="missing" title="Not found"><p>There is no such view.</p></>`;
  }
  if (!found.view.allowed()) {
    return html`<${Condition} kind="refused" title="Not allowed">
      <p>The key ${me.value.name} may not see this; its scopes: ${me.value.scopes.join(", ")}.
        ${me.value.namespace && ` It is bound to the namespace ${me.value.namespace}.`}</p></>`;
  }
  const { View } = found.view;
  return html`<${View} key=${`${found.view.path} ${namespace.value}`} ...${found.values} />`;
}

/**
 * Puts the focus on the view's title when one has gone to another view, not when one comes first.
 * The title may come only with what is loaded; if the focus has moved meanwhile, it stays there.
 * It is put there before the view can be seen: later it would be taken from what was chosen since.
 */
function useFocusOnView(main) {
  const { path } = place.value;
  const first = useRef(true);
  useLayoutEffect(() => {
    if (first.current) {
      first.current = false;
      return undefined;
    }
    scrollTo(0, 0);
    main.current.focus({ preventScroll: true });
    const look = () => {
      const title = main.current?.querySelector("h1");
      if (!title && document.activeElement === main.current) return;
      watch.disconnect();
      if (document.activeElement === main.current) title.focus({ preventScroll: true });
    };
    const watch = new MutationObserver(look);
    watch.observe(main.current, { childList: true, subtree: true });
    look();
    return () => watch.disconnect();
  }, [path]);
}

function useGlobalShortcuts() {
  const signedIn = status.value === "ready" ? me.value.name : "";
  useLayoutEffect(() => {
    const removers = [
      addShortcut("?", "Show this help", () => { helpOpen.value = true; }),
      addShortcut("t", "Next theme", nextTheme),
    ];
    if (signedIn) {
      for (const { key, title, path } of shownViews()) {
        if (key) removers.push(addShortcut(`g ${key}`, `Go to ${title}`, () => go(path)));
      }
    }
    return () => removers.forEach((remove) => remove());
  }, [signedIn]);
}

/** The whole page. */
export function Shell() {
  const main = useRef(null);
  useFocusOnView(main);
  useGlobalShortcuts();
  const skip = (event) => {
    event.preventDefault(); // the fragment is the router's
    main.current.focus();
  };
  return html`<a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <${Header} />
    <main id="main" tabindex="-1" ref=${main}><${Content} /></main>
    <${Questions} /><${Help} /><${NoticeList} />`;
}
