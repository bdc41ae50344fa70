from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

from benchmarks.plots import draw
from benchmarks.streams import growth
from benchmarks.svg import Bar, bars, line

SVG = "{http://www.w3.org/2000/svg}"


def window(target: str, dialect: str, worker: float, frontend: float) -> dict[str, object]:
    costs = {"worker": worker, "frontend": frontend} if worker else {"frontend": frontend}
    return {
        "target": target,
        "dialect": dialect,
        "streams": 256,
        "delivered": 0.99,
        "us_per_token": costs,
    }


def test_bars_are_as_long_as_their_values_and_texts_are_escaped() -> None:
    drawing = ElementTree.fromstring(bars("a < b", "µs", ("x", "y"), [Bar("one", [1, 3]), Bar("two", [2])]))
    filled = [each for each in drawing.iter(f"{SVG}rect") if each.get("height") == "16.0"]
    widths = [float(each.get("width", "")) for each in filled]
    assert widths[1] == 3 * widths[0]
    assert widths[2] == 2 * widths[0]
    assert "a < b" in [each.text for each in drawing.iter(f"{SVG}text")]


def test_a_line_ends_where_its_points_do() -> None:
    drawing = ElementTree.fromstring(line("memory", "MB", [(0, 0), (10, 50)], 100))
    points = next(drawing.iter(f"{SVG}polyline")).get("points", "").split()
    assert points == ["64.0,220.0", "700.0,145.5"]


def test_results_that_are_there_are_drawn_the_same_each_time(tmp_path: Path) -> None:
    windows = [
        window("this tree", "chat", 4, 20),
        window("this tree", "openai", 5, 25),
        window("SGLang's layer", "chat", 0, 100),
    ]
    (tmp_path / "relay.json").write_text(json.dumps({"windows": windows}))
    draw(tmp_path, tmp_path / "plots")
    first = (tmp_path / "plots" / "relay.svg").read_text()
    draw(tmp_path, tmp_path / "plots")
    assert [each.name for each in (tmp_path / "plots").iterdir()] == ["relay.svg"]
    assert (tmp_path / "plots" / "relay.svg").read_text() == first
    assert "this tree, openai" in first


def test_growth_compares_the_last_quarter_with_the_second() -> None:
    flat = [(float(at), 100.0 if at else 50.0) for at in range(40)]
    assert growth(flat) == 1.0
    assert growth([(at, 100.0 + at) for at, _ in flat]) > 1.15
    assert growth([(0.0, 80.0)]) == 1.0
