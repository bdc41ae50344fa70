// The page "Fleet": figures, plots, models, workers, the queue, moves and errors.

import { el, keyed, setText } from "./dom.js";
import { ago, bytes, count, NONE, plural, rate, seconds, share } from "./format.js";
import { Plot } from "./plot.js";

const STATES = {
  ready: "ready",
  loading: "loading",
  lost: "lost",
  unreachable: "not reached yet",
  stalled: "stalled",
  draining: "draining",
  avoided: "avoided after failures",
};
const MOVES = new Set(["failover", "retry"]);
const UNLOADED = "No model is in memory. A worker host loads one when a request asks for it.";
const KINDS = { error: "error", failover: "failover", retry: "retry", worker: "worker" };

export class Fleet {
  constructor() {
    this._tiles = el("dl", { class: "tiles" });
    this._note = el("p", { class: "note", hidden: true });
    this._choice = el("select", { id: "plot-model", onchange: () => this._drawPlots() });
    this._plots = [
      new Plot(
        "Tokens",
        "a second",
        [
          { name: "generated", class: "a", index: 1 },
          { name: "prompt", class: "b", index: 2 },
        ],
        rate,
        4,
      ),
      new Plot(
        "Time to first token",
        "",
        [
          { name: "p50", class: "a", index: 3 },
          { name: "p99", class: "b", index: 4 },
        ],
        seconds,
        0.1,
      ),
      new Plot(
        "Requests",
        "at a time",
        [
          { name: "running", class: "a", index: 8 },
          { name: "waiting", class: "b", index: 9 },
        ],
        count,
        4,
      ),
    ];
    this._models = table("Models", ["Model", "Workers", "Running", "Waiting", "KV cache", "Cache hits", "Tokens/s", "TTFT p50", "p99"]);
    this._workers = table("Workers", ["Worker", "Model", "State", "Running", "Waiting", "KV cache", "Cache hits", "Tokens/s"]);
    this._hosts = table("Worker hosts", ["Host", "State", "In memory", "Memory", "Disk free", "Next to load"]);
    this._queue = table("Queue", ["Place", "Model", "Client", "Waits for", "Priority"]);
    this._incidents = table("Moves and errors", ["When", "What", "Model", "Worker", "Client"]);
    this.element = el(
      "div",
      { class: "page fleet" },
      this._note,
      this._tiles,
      el(
        "section",
        { class: "card", "aria-label": "Plots" },
        el(
          "div",
          { class: "card-head" },
          el("h2", {}, "Last 15 minutes"),
          el("span", { class: "field" }, el("label", { for: "plot-model" }, "Model"), this._choice),
        ),
        el("div", { class: "plots" }, ...this._plots.map((plot) => plot.element)),
      ),
      this._models.element,
      this._workers.element,
      this._hosts.element,
      this._queue.element,
      this._incidents.element,
    );
  }

  draw(state) {
    this._state = state;
    this._drawNote(state.summary);
    this._drawTiles(state.summary);
    this._drawChoice(state.points);
    this._drawPlots();
    this._drawModels(state);
    this._drawWorkers(state);
    this._drawHosts(state);
    this._drawQueue(state);
    this._drawIncidents(state);
  }

  _drawNote(summary) {
    const others = summary.frontends - 1;
    this._note.hidden = others < 1 && !summary.draining;
    const shared = `This is the view of one of ${summary.frontends} frontends. Load, KV cache, cache hits of workers and tokens a second are the workers' own figures and include the requests of all frontends. The queue, requests, time to first token, moves and errors are this frontend's.`;
    setText(this._note, summary.draining ? "This frontend is shutting down." : shared);
  }

  _drawTiles(summary) {
    const places = summary.places ? ` / ${count(summary.places)}` : "";
    const kv = summary.kv_total ? share(summary.kv_used / summary.kv_total) : NONE;
    const tiles = [
      ["Workers ready", `${summary.ready} / ${summary.workers}`, summary.ready < summary.workers ? "warn" : ""],
      ["Running", `${count(summary.running ?? 0)}${places}`],
      ["Waiting", count(summary.queued + (summary.waiting ?? 0)), summary.queued ? "warn" : ""],
      ["Tokens a second", rate(summary.tokens_per_second)],
      ["TTFT p50", seconds(summary.ttft_p50)],
      ["TTFT p99", seconds(summary.ttft_p99)],
      ["KV cache", kv],
      ["Cache hits", share(summary.hit_rate)],
      ["Requests a minute", count(summary.requests_per_minute)],
      ["Moves", count(summary.moves)],
      ["Errors", count(summary.errors), summary.errors ? "bad" : ""],
      ["Connections", count(summary.connections)],
    ];
    keyed(
      this._tiles,
      tiles,
      ([name]) => name,
      ([name]) => el("div", { class: "tile" }, el("dt", {}, name), el("dd", {})),
      (tile, [, value, state]) => {
        tile.dataset.state = state ?? "";
        setText(tile.lastElementChild, value);
      },
    );
  }

  _drawChoice(points) {
    const models = Object.keys(points).sort();
    keyed(
      this._choice,
      models,
      (model) => model,
      (model) => el("option", { value: model }, model || "all models"),
      () => {},
    );
  }

  _drawPlots() {
    const state = this._state;
    if (!state) return;
    const points = state.points[this._choice.value] ?? state.points[""] ?? [];
    const now = state.points[""]?.at(-1)?.[0] ?? 0;
    for (const plot of this._plots) plot.draw(points, now + 5);
  }

  _drawModels({ models, summary }) {
    this._models.fill(
      models,
      (model) => model.name,
      (model) => [
        named(model.name, [model.parameters === "0" ? "" : model.parameters, model.quantization, model.context ? `${count(model.context)} context` : ""]),
        replicas(model),
        places(model),
        count(model.queued + (model.waiting ?? 0)),
        bar(model.kv_used, model.kv_total),
        share(model.hit_rate),
        rate(model.tokens_per_second),
        seconds(model.ttft_p50),
        seconds(model.ttft_p99),
      ],
      summary.hosts ? UNLOADED : "No model is served. Start a worker with one: python -m engine_worker --model FILE",
    );
  }

  _drawWorkers({ workers, summary }) {
    this._workers.fill(
      workers,
      (worker) => worker.address,
      (worker) => [
        named(worker.address, [worker.engine]),
        worker.model || NONE,
        badge(STATES[worker.state] ?? worker.state, worker.state),
        worker.places === undefined ? NONE : places(worker),
        count(worker.waiting),
        bar(worker.kv_used, worker.kv_total),
        share(worker.hit_rate),
        rate(worker.tokens_per_second),
      ],
      summary.hosts ? UNLOADED : "No worker is connected. Start one with: python -m engine_worker --listen 127.0.0.1:50051, and name it in the frontend's --workers.",
    );
  }

  _drawHosts({ hosts = [], points }) {
    const now = points[""]?.at(-1)?.[0] ?? 0;
    this._hosts.element.hidden = hosts.length === 0;
    this._hosts.fill(
      hosts,
      (host) => host.address,
      (host) => [
        named(host.address, [host.memory ? `${plural(host.stored, "model")} in its store` : ""]),
        badge(STATES[host.state] ?? host.state, host.state),
        host.models?.length ? el("span", { class: "held" }, ...host.models.map((model) => held(model, now))) : NONE,
        bar(host.memory_used, host.memory, bytes),
        bytes(host.disk_free),
        host.next?.length ? host.next.join(", ") : NONE,
      ],
      "",
    );
  }

  _drawQueue({ queue, summary }) {
    this._queue.fill(
      queue,
      (waiting) => `${waiting.model} ${waiting.position}`,
      (waiting) => [
        String(waiting.position),
        waiting.model,
        waiting.client,
        seconds(waiting.seconds),
        waiting.priority ? String(waiting.priority) : NONE,
      ],
      summary.queued ? "None of the requests that wait is for a model of this key." : "No request waits for a worker.",
    );
    const more = summary.queued - queue.length;
    this._queue.remark(queue.length && more > 0 ? `and ${plural(more, "more request")}` : "");
  }

  _drawIncidents({ incidents, points }) {
    const now = points[""]?.at(-1)?.[0] ?? 0;
    this._incidents.fill(
      incidents,
      (each) => `${each.kind} ${each.model} ${each.worker} ${each.client} ${each.text}`,
      (each) => [
        ago(Math.max(now, this._latest(incidents)), each.last),
        el(
          "span",
          { class: "what" },
          badge(KINDS[each.kind] ?? each.kind, each.kind),
          el("span", {}, ` ${each.text}`),
          each.times > 1 ? el("b", {}, ` × ${count(each.times)}`) : null,
        ),
        each.model || NONE,
        each.worker ? (MOVES.has(each.kind) ? `to ${each.worker}` : each.worker) : NONE,
        each.client || NONE,
      ],
      "No moves and no errors so far.",
    );
  }

  _latest(incidents) {
    return Math.max(0, ...incidents.map((each) => each.last));
  }
}

function named(name, details) {
  const text = details.filter(Boolean).join(" · ");
  return el("span", {}, el("b", {}, name), text ? el("small", {}, text) : null);
}

function places(load) {
  return load.places ? `${count(load.running)} / ${count(load.places)}` : count(load.running);
}

function replicas(model) {
  const ready = `${model.ready} / ${model.workers}`;
  return model.loading ? el("span", {}, `${ready} `, badge(STATES.loading, "loading")) : ready;
}

function held(model, now) {
  const loading = model.state === "loading" && now ? ` for ${seconds(Math.max(0, now - model.since))}` : "";
  return el("span", {}, `${model.model} `, badge(`${STATES[model.state] ?? model.state}${loading}`, model.state), el("small", {}, bytes(model.bytes)));
}

function badge(text, kind) {
  return el("span", { class: "badge", "data-kind": kind }, text);
}

function bar(used, total, text = (value) => `${count(value)} tokens`) {
  if (!total) return NONE;
  const part = Math.min(1, used / total);
  const fill = el("i", {});
  fill.style.width = `${(part * 100).toFixed(1)}%`;
  return el("span", { class: "meter", title: `${text(used)} of ${text(total)}` }, el("span", { class: "bar" }, fill), ` ${share(part)}`);
}

/** A section with a table, which on a narrow screen becomes a list of cards. */
export function table(title, columns) {
  const body = el("tbody", {});
  const empty = el("p", { class: "empty", hidden: true });
  const remark = el("p", { class: "remark", hidden: true });
  const grid = el(
    "table",
    {},
    el("thead", {}, el("tr", {}, ...columns.map((name) => el("th", { scope: "col" }, name)))),
    body,
  );
  const fill = (items, keyOf, cells, whenEmpty) => {
    keyed(
      body,
      items,
      keyOf,
      () => el("tr", {}, ...columns.map((name) => el("td", { "data-name": name }))),
      (row, item) => cells(item).forEach((cell, number) => setCell(row.children[number], cell)),
    );
    grid.hidden = items.length === 0;
    empty.hidden = items.length > 0;
    setText(empty, whenEmpty);
  };
  return {
    element: el("section", { class: "card" }, el("div", { class: "card-head" }, el("h2", {}, title)), el("div", { class: "scroll" }, grid), empty, remark),
    fill,
    remark: (text) => {
      remark.hidden = !text;
      setText(remark, text);
    },
  };
}

function setCell(cell, content) {
  cell.classList.toggle("none", content === NONE);
  if (typeof content === "string") setText(cell, content);
  else if (!cell.firstChild?.isEqualNode(content)) cell.replaceChildren(content);
}
