// The console: asks who looks, then shows the pages and keeps them up to date.

import { Keys, loginForm, logout } from "./access.js";
import { Chat } from "./chat.js";
import { el, setText } from "./dom.js";
import { Fleet } from "./fleet.js";
import { LiveState } from "./stream.js";
import { Usage } from "./usage.js";

const LINKS = {
  live: "live",
  lost: "connection lost, retrying",
  hidden: "paused",
  waiting: "connecting",
  login: "not logged in",
};

const content = document.getElementById("content");
const tabs = document.getElementById("tabs");
const link = document.getElementById("link");

function linked(kind) {
  link.dataset.state = kind;
  setText(link, LINKS[kind]);
}

async function session() {
  const answer = await fetch(new URL("session", import.meta.url), { cache: "no-store" });
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  return answer.json();
}

function pagesOf(who) {
  const fleet = new Fleet();
  const pages = [{ id: "fleet", title: "Fleet", page: fleet }];
  if (who.role !== "metrics") pages.push({ id: "chat", title: "Chat", page: new Chat() });
  pages.push({ id: "usage", title: "Usage", page: new Usage() });
  if (who.keys && who.role === "admin") pages.push({ id: "keys", title: "Keys", page: new Keys() });
  return pages;
}

function show(who) {
  if (who.login) {
    linked("login");
    content.replaceChildren(loginForm(begin));
    content.querySelector("input").focus();
    return;
  }
  if (who.keys) document.getElementById("who").replaceChildren(el("span", {}, `${who.name} (${who.role})`), el("button", { type: "button", onclick: logout }, "Log out"));
  const pages = pagesOf(who);
  content.replaceChildren();
  tabs.replaceChildren();
  for (const each of pages) {
    each.tab = el(
      "button",
      { role: "tab", id: `tab-${each.id}`, "aria-controls": `page-${each.id}`, onclick: () => select(pages, each.id, true) },
      each.title,
    );
    each.panel = el("div", { role: "tabpanel", id: `page-${each.id}`, "aria-labelledby": `tab-${each.id}` }, each.page.element);
    tabs.append(each.tab);
    content.append(each.panel);
  }
  tabs.onkeydown = (event) => step(pages, event);
  window.onhashchange = () => select(pages, location.hash.slice(1));
  select(pages, location.hash.slice(1) || "fleet");
  const live = new LiveState(
    (state) => pages.forEach((each) => each.page.draw?.(state)),
    linked,
    () => location.reload(),
  );
  live.start();
}

/** `byClick`: the page may take the focus; arrow keys leave it on the tabs. */
function select(pages, id, byClick = false) {
  const chosen = pages.find((each) => each.id === id) ?? pages[0];
  for (const each of pages) {
    const isChosen = each === chosen;
    each.tab.setAttribute("aria-selected", String(isChosen));
    each.tab.tabIndex = isChosen ? 0 : -1;
    each.panel.hidden = !isChosen;
  }
  if (location.hash.slice(1) !== chosen.id) history.replaceState(null, "", `#${chosen.id}`);
  document.title = `${chosen.title} · Drover console`;
  chosen.page.shown?.(byClick);
}

/** Arrow keys, Home and End move between tabs, as screen readers announce. */
function step(pages, event) {
  const at = pages.findIndex((each) => each.tab === document.activeElement);
  const moves = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: pages.length - 1 };
  if (at < 0 || !(event.key in moves)) return;
  event.preventDefault();
  const next = pages[(moves[event.key] + pages.length) % pages.length];
  select(pages, next.id);
  next.tab.focus();
}

async function begin() {
  try {
    show(await session());
  } catch {
    linked("lost");
    setTimeout(begin, 3000);
  }
}

begin();
