/**
 * The start: who is signed in, the feed of all tasks, and the page.
 */
import { html, render } from "./lib.js";
import { begin as beginFeed } from "./core/feed.js";
import { begin as beginSession } from "./core/session.js";
import { Shell } from "./parts/shell.js";

const app = document.getElementById("app");
app.replaceChildren();
render(html`<${Shell} />`, app);
beginSession();
beginFeed();
