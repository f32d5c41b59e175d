/**
 * The sign-in: an API key, pasted once, kept for this tab.
 */
import { html, useState } from "../lib.js";
import { refusal, signIn } from "../core/session.js";

/** The form that asks for a key. */
export function SignIn() {
  const [busy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    await signIn(event.target.elements.key.value);
    setBusy(false);
  };
  return html`<section class="condition sign-in">
    <h1 tabindex="-1">Sign in</h1>
    <p>This service needs an API key. It is kept in this tab alone, and forgotten when you close it.</p>
    <form onSubmit=${submit}>
      <label class="field">API key
        <input name="key" type="password" autocomplete="off" spellcheck=${false} required
          placeholder="rtk_…" aria-describedby="key-refusal" aria-invalid=${refusal.value !== ""} /></label>
      <p id="key-refusal" class="bad" role="alert">${refusal.value}</p>
      <p class="buttons"><button type="submit" class="primary" disabled=${busy}>Sign in</button></p>
    </form>
    <p class="muted">Who runs the service makes one: <code>raytasks keys new --name NAME --scopes read</code></p>
  </section>`;
}
