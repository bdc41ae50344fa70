// Login, logout and the page "Keys".

import { el, setText } from "./dom.js";
import { table } from "./fleet.js";
import { count, NONE, plural } from "./format.js";

const HEADERS = { "content-type": "application/json", "x-console-page": "1" };

/** The form that asks for a key; `entered()` after a login. */
export function loginForm(entered) {
  const input = el("input", { id: "login-key", type: "password", autocomplete: "current-password", spellcheck: "false", required: true });
  const button = el("button", { class: "primary", type: "submit" }, "Log in");
  const problem = el("p", { class: "problem", role: "alert", hidden: true });
  const say = (text) => {
    problem.hidden = !text;
    setText(problem, text);
  };
  const submit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    say("");
    try {
      const answer = await post("login", { key: input.value });
      if (answer.ok) {
        input.value = "";
        entered();
        return;
      }
      say((await answer.json()).error ?? `The server answered ${answer.status}.`);
    } catch {
      say("The server does not answer.");
    } finally {
      button.disabled = false;
    }
    input.select();
  };
  return el(
    "form",
    { class: "card login", onsubmit: submit },
    el("h2", {}, "Log in"),
    el("p", { class: "empty" }, "This server needs a key. The page sends it once and keeps a cookie for 12 hours in its place."),
    el("label", { for: "login-key" }, "Key"),
    input,
    problem,
    button,
  );
}

export async function logout() {
  await post("logout", {});
  location.reload();
}

function post(name, body) {
  return fetch(new URL(name, import.meta.url), { method: "POST", headers: HEADERS, body: JSON.stringify(body) });
}

export class Keys {
  constructor() {
    this._table = table("Keys", ["Key", "Role", "State", "Models", "Limits", "Priority", "Weight", "Expires"]);
    this._problem = el("p", { class: "problem", hidden: true });
    this.element = el(
      "div",
      { class: "page" },
      this._table.element,
      this._problem,
      el("p", { class: "empty" }, "Keys are made, rotated and revoked on the command line: drover-frontend keys."),
    );
  }

  async shown() {
    try {
      const answer = await fetch(new URL("keys", import.meta.url), { cache: "no-store" });
      if (!answer.ok) throw new Error();
      this._fill((await answer.json()).keys);
      this._problem.hidden = true;
    } catch {
      this._problem.hidden = false;
      setText(this._problem, "The keys cannot be read; the server does not answer.");
    }
  }

  _fill(keys) {
    this._table.fill(
      keys,
      (key) => key.id,
      (key) => [
        el("span", {}, el("b", {}, key.name), el("small", {}, key.id)),
        key.role,
        el("span", { class: "badge", "data-kind": key.state === "active" ? "ready" : "lost" }, key.state),
        key.models.join(", ") || "all",
        limits(key) || "none",
        key.priority === null ? NONE : String(key.priority),
        String(key.weight),
        key.expires === null ? "never" : new Date(key.expires * 1000).toLocaleString(),
      ],
      "There are no keys: everybody who reaches this server may use it. Make one with: drover-frontend keys create --name NAME",
    );
  }
}

function limits(key) {
  const parts = [];
  if (key.requests_per_minute) parts.push(`${count(key.requests_per_minute)} requests/min`);
  if (key.tokens_per_minute) parts.push(`${count(key.tokens_per_minute)} tokens/min`);
  if (key.streams) parts.push(plural(key.streams, "stream"));
  return parts.join(", ");
}
