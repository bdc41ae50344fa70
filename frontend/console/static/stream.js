// The live state, from server-sent events.

const SILENT_MS = 6000;
const RETRY_MS = 3000;
const HIDDEN_MS = 60000;

/**
 * Keeps `state` up to date and calls `changed(state)` after each event; `linked(kind)` with "live", "lost" or
 * "hidden" when the connection changes, `refused()` where the server asks for a login.
 */
export class LiveState {
  constructor(changed, linked, refused) {
    this.state = null;
    this._changed = changed;
    this._linked = linked;
    this._refused = refused;
    this._source = null;
    this._silence = 0;
    this._hiding = 0;
    this._stopped = true;
    document.addEventListener("visibilitychange", () => this._visibility());
  }

  start() {
    this._stopped = false;
    this._open();
  }

  stop() {
    this._stopped = true;
    this._close();
  }

  _open() {
    this._close();
    const source = new EventSource(new URL("events", import.meta.url));
    this._source = source;
    source.addEventListener("state", (event) => this._take(JSON.parse(event.data), true));
    source.addEventListener("update", (event) => this._take(JSON.parse(event.data), false));
    source.addEventListener("error", () => this._failed(source));
    this._listen();
  }

  _close() {
    clearTimeout(this._silence);
    this._source?.close();
    this._source = null;
  }

  _take(sections, whole) {
    this._listen();
    if (whole || this.state === null) this.state = sections;
    else this._merge(sections);
    this._linked("live");
    this._changed(this.state);
  }

  _merge({ points, ...sections }) {
    Object.assign(this.state, sections);
    for (const [model, newest] of Object.entries(points ?? {})) {
      const known = this.state.points[model] ?? [];
      const first = newest[0]?.[0] ?? Infinity;
      const kept = known.filter((point) => point[0] < first);
      this.state.points[model] = [...kept, ...newest].slice(-180);
    }
  }

  /** A connection that is open and says nothing is as good as lost: a laptop slept, or a proxy keeps it. */
  _listen() {
    clearTimeout(this._silence);
    this._silence = setTimeout(() => {
      this._linked("lost");
      this._open();
    }, SILENT_MS);
  }

  async _failed(source) {
    if (source !== this._source) return;
    this._linked("lost");
    if (source.readyState !== EventSource.CLOSED) return;
    // The browser does not retry after an HTTP status: ask whether a login is needed, else retry here.
    clearTimeout(this._silence);
    try {
      const answer = await fetch(new URL("session", import.meta.url), { cache: "no-store" });
      if (answer.ok && (await answer.json()).login) {
        this.stop();
        this._refused();
        return;
      }
    } catch {
      // Not reachable: the retry below.
    }
    setTimeout(() => {
      if (!this._stopped && source === this._source) this._open();
    }, RETRY_MS);
  }

  /** A page that has been out of sight for a while needs no updates. */
  _visibility() {
    clearTimeout(this._hiding);
    if (this._stopped) return;
    if (document.hidden) {
      this._hiding = setTimeout(() => {
        this._close();
        this._linked("hidden");
      }, HIDDEN_MS);
    } else if (this._source === null) {
      this._open();
    }
  }
}
