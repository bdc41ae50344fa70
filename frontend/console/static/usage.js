// The page "Usage": sums per key and model over the last days, from /api/usage.

import { el, setText } from "./dom.js";
import { table } from "./fleet.js";
import { count, seconds, share } from "./format.js";

const SUMS = ["requests", "refusals", "prompt_tokens", "cached_tokens", "generated_tokens", "queued_seconds", "running_seconds"];
const DAY_MS = 86400000;
// The most that the server gives in one page.
const ROWS = 10000;

export class Usage {
  constructor() {
    this._days = el(
      "select",
      { id: "usage-days", onchange: () => this.shown() },
      ...[[1, "today"], [7, "last 7 days"], [30, "last 30 days"]].map(([days, text]) => el("option", { value: days }, text)),
    );
    this._days.value = "7";
    this._table = table("Usage", ["Key", "Model", "Requests", "Refused", "Prompt tokens", "Cached", "Generated tokens", "Queued", "Running"]);
    this._problem = el("p", { class: "problem", hidden: true });
    const head = this._table.element.firstElementChild;
    head.append(el("span", { class: "field" }, el("label", { for: "usage-days" }, "Days (UTC)"), this._days));
    this.element = el("div", { class: "page" }, this._problem, this._table.element);
  }

  async shown() {
    const first = new Date(Date.now() - (Number(this._days.value) - 1) * DAY_MS).toISOString().slice(0, 10);
    try {
      const answer = await fetch(new URL(`usage?from=${first}&limit=${ROWS}`, import.meta.url), { cache: "no-store" });
      const body = await answer.json();
      if (!answer.ok) throw new Error(body.error ?? `The server answered ${answer.status}.`);
      this._fill(body);
      this._say("");
    } catch (error) {
      this._say(error instanceof TypeError ? "The usage cannot be read; the server does not answer." : error.message);
    }
  }

  _fill({ usage, total, next }) {
    const rows = summed(usage);
    if (rows.length > 1) rows.push({ ...total, key: "", key_name: "All", model: "", isTotal: true });
    this._table.fill(
      rows,
      (row) => (row.isTotal ? "total" : `${row.key} ${row.model}`),
      (row) => [
        row.key_name || row.key || "without a key",
        row.isTotal ? "" : row.model || "not known",
        count(row.requests),
        count(row.refusals),
        count(row.prompt_tokens),
        share(row.prompt_tokens ? row.cached_tokens / row.prompt_tokens : null),
        count(row.generated_tokens),
        seconds(row.queued_seconds),
        seconds(row.running_seconds),
      ],
      "Nothing was used in these days.",
    );
    this._table.remark(next ? `The rows are of the first ${ROWS} only, All is of all; /api/usage has the rest.` : "");
  }

  _say(text) {
    this._problem.hidden = !text;
    setText(this._problem, text);
  }
}

/** One row for each key and model, those with most tokens first. */
function summed(usage) {
  const rows = new Map();
  for (const each of usage) {
    const key = `${each.key} ${each.model}`;
    const row = rows.get(key) ?? { key: each.key, key_name: each.key_name, model: each.model };
    for (const name of SUMS) row[name] = (row[name] ?? 0) + each[name];
    rows.set(key, row);
  }
  return [...rows.values()].sort((one, other) => other.generated_tokens - one.generated_tokens);
}
