// The page "Chat": one conversation, kept in this page only.

import { el, keyed, setText } from "./dom.js";
import { count, rate, seconds } from "./format.js";

const EMPTY = "Ask the fleet something. The conversation stays in this page and is gone when you close it.";

export class Chat {
  constructor() {
    this._messages = [];
    this._running = null;
    this._model = el("select", { id: "chat-model" });
    this._think = el(
      "select",
      { id: "chat-think" },
      el("option", { value: "" }, "as the model does"),
      el("option", { value: "true" }, "on"),
      el("option", { value: "false" }, "off"),
    );
    this._system = el("textarea", { id: "chat-system", rows: 2, placeholder: "none" });
    this._tools = el("textarea", { id: "chat-tools", rows: 4, spellcheck: "false", placeholder: '[{"type": "function", "function": {"name": "get_weather", "parameters": {…}}}]' });
    this._log = el("div", { class: "log", role: "log", "aria-live": "polite", "aria-label": "Conversation", tabindex: "0" }, el("p", { class: "empty" }, EMPTY));
    this._input = el("textarea", { id: "chat-input", rows: 2, placeholder: "Message (Enter sends it)", onkeydown: (event) => this._key(event) });
    this._send = el("button", { class: "primary", type: "submit" }, "Send");
    this._stop = el("button", { type: "button", hidden: true, onclick: () => this._running?.abort() }, "Stop");
    this._clear = el("button", { type: "button", class: "quiet", onclick: () => this._reset() }, "New chat");
    this._problem = el("p", { class: "problem", role: "alert", hidden: true });
    this.element = el(
      "div",
      { class: "page chat card" },
      el(
        "div",
        { class: "card-head" },
        el("span", { class: "field" }, el("label", { for: "chat-model" }, "Model"), this._model),
        el("span", { class: "field" }, el("label", { for: "chat-think" }, "Thinking"), this._think),
        this._clear,
      ),
      this._log,
      this._problem,
      el(
        "form",
        { class: "composer", onsubmit: (event) => this._submit(event) },
        el("label", { for: "chat-input", class: "hidden" }, "Message"),
        this._input,
        el("div", { class: "buttons" }, this._send, this._stop),
      ),
      el(
        "details",
        { class: "options" },
        el("summary", {}, "System message and tools"),
        el("label", { for: "chat-system" }, "System message"),
        this._system,
        el("label", { for: "chat-tools" }, "Tools, as a JSON list. Calls are shown and never made."),
        this._tools,
      ),
    );
  }

  async shown(takesFocus) {
    await this._listModels();
    if (takesFocus && matchMedia("(hover: hover)").matches) this._input.focus();
  }

  async _listModels() {
    try {
      const answer = await fetch(new URL("models", import.meta.url), { cache: "no-store" });
      if (!answer.ok) return;
      const { models } = await answer.json();
      keyed(
        this._model,
        models,
        (model) => model.name,
        (model) => el("option", { value: model.name }, model.name),
        () => {},
      );
      this._say(models.length ? "" : "No model can chat now: no worker is connected, or none of them generates text.");
    } catch {
      this._say("The list of models cannot be read; the server does not answer.");
    }
  }

  _key(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this._submit(event);
  }

  _submit(event) {
    event.preventDefault();
    const text = this._input.value.trim();
    if (!text || this._running !== null) return;
    const tools = this._readTools();
    if (tools === null) return;
    this._say("");
    this._input.value = "";
    this._messages.push({ role: "user", content: text });
    this._add("user", text);
    this._answer(tools);
  }

  /** The tools as a list; null where the text is none. */
  _readTools() {
    const text = this._tools.value.trim();
    if (!text) return [];
    try {
      const tools = JSON.parse(text);
      if (Array.isArray(tools)) return tools;
      this._say("Tools must be a JSON list of tool definitions.");
    } catch (error) {
      this._say(`Tools are not valid JSON: ${error.message}`);
    }
    return null;
  }

  async _answer(tools) {
    const system = this._system.value.trim();
    const body = {
      model: this._model.value,
      messages: [...(system ? [{ role: "system", content: system }] : []), ...this._messages],
      stream: true,
    };
    if (this._think.value) body.think = this._think.value === "true";
    if (tools.length) body.tools = tools;
    // "New chat" starts another list while this answer still ends.
    const messages = this._messages;
    const shown = new Answer(this._add("assistant", ""));
    this._running = new AbortController();
    this._busy(true);
    try {
      const answer = await fetch(new URL("chat", import.meta.url), {
        method: "POST",
        headers: { "content-type": "application/json", "x-console-page": "1" },
        body: JSON.stringify(body),
        signal: this._running.signal,
      });
      await this._read(answer, shown);
    } catch (error) {
      if (error.name === "AbortError") shown.end("stopped");
      else this._fail(shown, error instanceof TypeError ? "The server does not answer." : error.message);
    }
    if (shown.message.content || shown.message.tool_calls) messages.push(shown.message);
    this._running = null;
    this._busy(false);
  }

  async _read(answer, shown) {
    if (!answer.ok) throw new Error(await errorOf(answer));
    for await (const line of lines(answer.body)) {
      const part = JSON.parse(line);
      if (part.error) throw new Error(part.error);
      shown.take(part);
      this._follow();
    }
  }

  _fail(shown, text) {
    shown.end("failed");
    this._say(text);
  }

  _add(role, text) {
    if (!this._messages.length || this._log.querySelector(".empty")) this._log.querySelector(".empty")?.remove();
    const message = el("article", { class: `message ${role}` }, el("h3", {}, role === "user" ? "You" : this._model.value));
    if (text) message.append(el("p", { class: "text" }, text));
    this._log.append(message);
    this._follow(true);
    return message;
  }

  /** Keep the end in sight, unless the reader has scrolled up. */
  _follow(always = false) {
    const log = this._log;
    if (always || log.scrollHeight - log.scrollTop - log.clientHeight < 80) log.scrollTop = log.scrollHeight;
  }

  _busy(isBusy) {
    this._send.hidden = isBusy;
    this._stop.hidden = !isBusy;
    this._log.setAttribute("aria-busy", String(isBusy));
    if (!isBusy) this._input.focus();
  }

  _say(text) {
    this._problem.hidden = !text;
    setText(this._problem, text);
  }

  _reset() {
    this._running?.abort();
    this._messages = [];
    this._say("");
    this._log.replaceChildren(el("p", { class: "empty" }, EMPTY));
  }
}

/** An answer as it grows: thinking, text, calls, and the figures at its end. `message`: for the next request. */
class Answer {
  constructor(element) {
    this._element = element;
    this.message = { role: "assistant", content: "" };
    this._thinking = null;
    this._text = null;
    this._waiting = el("p", { class: "pending" }, "waiting for the first token");
    element.append(this._waiting);
  }

  take({ message, done, ...rest }) {
    if (message?.thinking) this._think(message.thinking);
    if (message?.content) this._write(message.content);
    for (const call of message?.tool_calls ?? []) this._call(call);
    if (done) this.end(figures(rest));
  }

  end(text) {
    this._waiting.remove();
    if (this._thinking) this._thinking.open = false;
    if (text) this._element.append(el("p", { class: "figures" }, text));
  }

  _think(text) {
    this._waiting.remove();
    if (!this._thinking) {
      this._thinking = el("details", { class: "thinking", open: true }, el("summary", {}, "Thinking"), el("p", { class: "text" }));
      this._element.append(this._thinking);
    }
    this._thinking.lastElementChild.append(text);
    this.message.thinking = (this.message.thinking ?? "") + text;
  }

  _write(text) {
    this._waiting.remove();
    if (!this._text) {
      this._text = el("p", { class: "text" });
      this._element.append(this._text);
    }
    this._text.append(text);
    this.message.content += text;
  }

  _call(call) {
    this._waiting.remove();
    const { name, arguments: given } = call.function;
    this._element.append(
      el("div", { class: "call" }, el("h4", {}, "Tool call ", el("code", {}, name)), el("pre", {}, JSON.stringify(given, null, 2))),
    );
    this.message.tool_calls = [...(this.message.tool_calls ?? []), call];
    this._text = null;
  }
}

function figures({ prompt_eval_count: prompt, eval_count: made, eval_duration: took, total_duration: total, done_reason: reason }) {
  const parts = [];
  if (prompt) parts.push(`${count(prompt)} prompt tokens`);
  if (made) parts.push(`${count(made)} tokens`);
  if (made && took) parts.push(`${rate(made / (took / 1e9))} a second`);
  if (total) parts.push(seconds(total / 1e9));
  if (reason && reason !== "stop") parts.push(`ended by ${reason}`);
  return parts.join(" · ");
}

async function errorOf(answer) {
  const text = await answer.text();
  try {
    return JSON.parse(text).error || `The server answered ${answer.status}.`;
  } catch {
    return `The server answered ${answer.status}.`;
  }
}

async function* lines(body) {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of chunks(body)) {
    rest += decoder.decode(chunk, { stream: true });
    const parts = rest.split("\n");
    rest = parts.pop();
    yield* parts.filter((line) => line.trim());
  }
  if (rest.trim()) yield rest;
}

/** Not every browser iterates over a stream. */
async function* chunks(body) {
  const reader = body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}
