// A line plot of the last 15 minutes, as SVG. The colours are the style sheet's.

import { el, setText, svg } from "./dom.js";

const FIRST_WIDTH = 640;
const HEIGHT = 190;
const LEFT = 46;
const RIGHT = 8;
const TOP = 10;
const BOTTOM = 22;
const SPAN = 900;
const BUCKET = 5;
const TICKS = 4;
const MINUTES = [15, 10, 5, 0];

/**
 * `lines`: each has a name, a class and the index of its value in a point; `format` writes a value; `least`: the top of
 * the scale is not below it.
 */
export class Plot {
  constructor(title, unit, lines, format, least) {
    this._least = least;
    this._lines = lines;
    this._format = format;
    this._title = title;
    this._points = [];
    this._now = 0;
    this._values = lines.map(() => el("b", {}, "–"));
    this._moment = el("span", { class: "moment" }, "now");
    this._grid = svg("g", { class: "grid" });
    this._paths = lines.map((line) => svg("path", { class: `line ${line.class}` }));
    this._dots = lines.map((line) => svg("circle", { class: `dot ${line.class}`, r: 3 }));
    this._cursor = svg("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM });
    this._picture = svg(
      "svg",
      { role: "img", height: HEIGHT },
      this._grid,
      ...this._paths,
      ...this._dots,
      this._cursor,
    );
    this._axis = el("div", { class: "axis-y", "aria-hidden": "true" });
    this._empty = el("p", { class: "empty" }, "Nothing in the last 15 minutes.");
    this._hovered = null;
    this._width = FIRST_WIDTH;
    // One unit of the picture is one pixel, so that lines and dots keep their shape in every width.
    new ResizeObserver(([entry]) => this._resize(entry.contentRect.width)).observe(this._picture);
    this._picture.addEventListener("pointermove", (event) => this._hover(event));
    this._picture.addEventListener("pointerleave", () => this._leave());
    this.element = el(
      "figure",
      { class: "plot" },
      el(
        "figcaption",
        {},
        el("h3", {}, title, " ", el("small", {}, unit)),
        el(
          "p",
          { class: "legend" },
          ...lines.map((line, number) =>
            el("span", { class: `key ${line.class}` }, `${line.name} `, this._values[number]),
          ),
          this._moment,
        ),
      ),
      el("div", { class: "canvas" }, this._axis, this._picture, this._empty),
      el(
        "div",
        { class: "axis-x", "aria-hidden": "true" },
        ...MINUTES.map((minutes) => el("span", {}, minutes ? `−${minutes} min` : "now")),
      ),
    );
  }

  draw(points, now) {
    this._points = points.filter((point) => point[0] > now - SPAN - BUCKET);
    this._now = now;
    const all = this._points.flatMap((point) => this._lines.map((line) => point[line.index] ?? 0));
    const top = nice(Math.max(this._least, ...all));
    this._top = top;
    this._drawGrid(top);
    this._lines.forEach((line, number) => {
      this._paths[number].setAttribute("d", this._path(line.index));
    });
    const isEmpty = !this._points.some((point) => this._lines.some((line) => point[line.index]));
    this._empty.hidden = !isEmpty;
    this._show(this._hovered);
    const newest = this._lines.map((line, number) => `${line.name} ${this._values[number].textContent}`);
    this._picture.setAttribute("aria-label", `${this._title}, last 15 minutes. ${this._moment.textContent}: ${newest.join(", ")}`);
  }

  _resize(width) {
    if (!width || width === this._width) return;
    this._width = width;
    this._picture.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.draw(this._points, this._now);
  }

  _x(time) {
    return LEFT + ((time - (this._now - SPAN)) / SPAN) * (this._width - LEFT - RIGHT);
  }

  _y(value) {
    return HEIGHT - BOTTOM - (value / this._top) * (HEIGHT - TOP - BOTTOM);
  }

  /** A value that is missing, or a span without points, breaks the line. */
  _path(index) {
    let path = "";
    let last = null;
    for (const point of this._points) {
      const value = point[index];
      if (value === null || value === undefined) {
        last = null;
        continue;
      }
      const connected = last !== null && point[0] - last <= 2 * BUCKET;
      const x = Math.max(LEFT, this._x(Math.min(this._now, point[0] + BUCKET / 2))).toFixed(1);
      // A point without neighbours is a short stroke, else it would not be seen.
      path += `${connected ? "L" : "M"}${x} ${this._y(value).toFixed(1)}${connected ? "" : "h2"}`;
      last = point[0];
    }
    return path;
  }

  _drawGrid(top) {
    const values = Array.from({ length: TICKS + 1 }, (_, number) => (top * number) / TICKS);
    const key = `${this._width} ${values.join()}`;
    if (this._gridKey === key) return;
    this._gridKey = key;
    this._grid.replaceChildren(
      ...values.map((value) => svg("line", { x1: LEFT, x2: this._width - RIGHT, y1: this._y(value), y2: this._y(value) })),
    );
    this._axis.replaceChildren(
      ...values.map((value) => {
        const label = el("span", {}, this._format(value));
        label.style.top = `${this._y(value)}px`;
        return label;
      }),
    );
  }

  _hover(event) {
    const box = this._picture.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * this._width;
    const time = this._now - SPAN + ((x - LEFT) / (this._width - LEFT - RIGHT)) * SPAN;
    const found = this._points.findLast((point) => point[0] <= time);
    this._hovered = found ? found[0] : null;
    this._show(this._hovered);
  }

  _leave() {
    this._hovered = null;
    this._show(null);
  }

  /** Write the values of the point at `time`; without one, those of the newest whole bucket. */
  _show(time) {
    const whole = this._points.filter((point) => point[0] + BUCKET <= this._now);
    const point = time === null ? whole.at(-1) : this._points.find((each) => each[0] === time);
    const isHovered = time !== null && point !== undefined;
    this._cursor.classList.toggle("shown", isHovered);
    this._lines.forEach((line, number) => {
      const value = point?.[line.index];
      setText(this._values[number], value === null || value === undefined ? "–" : this._format(value));
      const dot = this._dots[number];
      dot.classList.toggle("shown", isHovered && typeof value === "number");
      if (isHovered && typeof value === "number") {
        dot.setAttribute("cx", this._x(time + BUCKET / 2));
        dot.setAttribute("cy", this._y(value));
      }
    });
    if (isHovered) {
      this._cursor.setAttribute("x1", this._x(time + BUCKET / 2));
      this._cursor.setAttribute("x2", this._x(time + BUCKET / 2));
    }
    const ago = isHovered ? Math.round((this._now - time) / 6) / 10 : 0;
    setText(this._moment, isHovered ? `${ago.toFixed(1)} min ago` : "now");
  }
}

/** The next 1, 2, 4 or 5 times a power of ten: its quarters are short numbers. */
function nice(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 8, 10].map((step) => step * power).find((step) => step >= value * 0.999) ?? 10 * power;
}
