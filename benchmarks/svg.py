"""Two kinds of plot as SVG text: bars, and a line over time. The same numbers give the same bytes.

A plotting library would bring ten packages into the environment of development and output that changes with
its version; what is shown here needs rectangles and text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_WIDTH = 720
_LEFT = 230
_RIGHT = 190
_TOP = 56
_ROW = 26
_BAR = 16
_COLOURS = ("#3b6ea5", "#e0903c", "#6a9a4f")
_TEXT = "#24292f"
_MUTED = "#6e7781"


@dataclass(frozen=True, slots=True)
class Bar:
    """`parts`: stacked; one without a value is omitted."""

    label: str
    parts: Sequence[float]
    note: str = ""


def bars(title: str, unit: str, names: Sequence[str], rows: Sequence[Bar]) -> str:
    """`names`: those of the parts."""
    most = max((sum(row.parts) for row in rows), default=0.0) or 1.0
    scale = (_WIDTH - _LEFT - _RIGHT) / most
    drawn = [_text(16, 24, title, 15, weight="bold"), *_legend(names)]
    for number, row in enumerate(rows):
        top, at = _TOP + number * _ROW, float(_LEFT)
        drawn.append(_text(_LEFT - 8, top + 13, row.label, 12, anchor="end"))
        for part, colour in zip(row.parts, _COLOURS, strict=False):
            drawn.append(_rectangle(at, top, part * scale, _BAR, colour))
            at += part * scale
        note = f" {row.note}" if row.note else ""
        drawn.append(_text(at + 6, top + 13, f"{sum(row.parts):.3g} {unit}{note}", 12))
    return _document(_TOP + len(rows) * _ROW + 8, drawn)


def line(title: str, unit: str, points: Sequence[tuple[float, float]], limit: float) -> str:
    """A line of values over seconds, with a limit as a dashed line."""
    height, left, bottom = 260, 64, 220
    wide = _WIDTH - left - 20
    last = max(at for at, _ in points) or 1.0
    most = 1.1 * max(limit, *(value for _, value in points))

    def place(at: float, value: float) -> str:
        return f"{left + wide * at / last:.1f},{bottom - (bottom - _TOP) * value / most:.1f}"

    path = " ".join(place(at, value) for at, value in points)
    ends = (place(0, limit).replace(",", " "), place(last, limit).replace(",", " "))
    drawn = [
        _text(16, 24, title, 15, weight="bold"),
        f'<polyline points="{path}" fill="none" stroke="{_COLOURS[0]}" stroke-width="2"/>',
        f'<path d="M{ends[0]} L{ends[1]}" stroke="{_COLOURS[1]}" stroke-dasharray="6 4"/>',
        _text(left + 4, float(ends[0].split()[1]) - 6, f"{limit:g} {unit}", 12, colour=_MUTED),
        f'<path d="M{left} {_TOP} V{bottom} H{_WIDTH - 20}" fill="none" stroke="{_MUTED}"/>',
        _text(left - 8, bottom + 4, "0", 12, anchor="end", colour=_MUTED),
        _text(_WIDTH - 20, bottom + 20, f"{last:.0f} s", 12, anchor="end", colour=_MUTED),
    ]
    return _document(height, drawn)


def _legend(names: Sequence[str]) -> list[str]:
    drawn = []
    for number, (name, colour) in enumerate(zip(names, _COLOURS, strict=False)):
        left = _LEFT + 150 * number
        drawn += [_rectangle(left, 36, 10, 10, colour), _text(left + 15, 45, name, 12, colour=_MUTED)]
    return drawn


def _rectangle(left: float, top: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'


def _text(
    left: float,
    top: float,
    text: str,
    size: int,
    anchor: str = "start",
    weight: str = "normal",
    colour: str = _TEXT,
) -> str:
    return (
        f'<text x="{left:.1f}" y="{top:.1f}" font-size="{size}" text-anchor="{anchor}" '
        f'font-weight="{weight}" fill="{colour}">{escape(text)}</text>'
    )


def _document(height: int, drawn: Sequence[str]) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
            'font-family="sans-serif">',
            f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
            *drawn,
            "</svg>",
            "",
        ]
    )
