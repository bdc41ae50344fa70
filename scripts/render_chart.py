"""Write the package's version into the Helm chart, and the chart as rendered for each set of example values:
`python -m scripts.render_chart`, with `--check` for CI.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import helm_python as helm
import yaml

from drover import __version__

K8S = Path(__file__).resolve().parents[1] / "deploy" / "k8s"
CHART, OVERLAYS, RENDERED = K8S / "chart", K8S / "overlays", K8S / "rendered"
_RELEASE, _NAMESPACE = "drover", "llm"

Values = Mapping[str, object]


def examples() -> dict[str, Values]:
    """Values files by name; `default` is the chart's own."""
    found: dict[str, Values] = {"default": {}}
    for path in sorted(OVERLAYS.glob("*.yaml")):
        found[path.stem] = yaml.safe_load(path.read_text())
    return found


def versioned(chart: str) -> str:
    """Chart.yaml's text with the package's version as the chart's and the images'."""
    text = re.sub(r"^version: .*$", f"version: {__version__}", chart, flags=re.MULTILINE)
    return re.sub(r"^appVersion: .*$", f'appVersion: "{__version__}"', text, flags=re.MULTILINE)


def render(values: Values, release: str = _RELEASE) -> str:
    """One YAML stream, file by file. Raises helm.HelmError if the chart refuses the values."""
    with helm.Chart.load(CHART) as chart:
        manifests = chart.render(dict(values), name=release, namespace=_NAMESPACE)
    texts = [
        f"# {_below_templates(name)}\n{text.strip()}\n"
        for name, text in sorted(manifests.items())
        if name.endswith(".yaml") and text.strip()
    ]
    return "".join(f"---\n{text.replace(_DOUBLE, _SINGLE)}" for text in texts)


_DOUBLE, _SINGLE = "\n---\n---\n", "\n---\n"


def _below_templates(name: str) -> str:
    return name.split("/templates/")[1]


def main() -> int:
    head = CHART / "Chart.yaml"
    text = versioned(head.read_text())
    if "--check" in sys.argv[1:]:
        return _check(head, text)
    # First: labels and image tags contain it.
    head.write_text(text)
    wanted = _wanted()
    for path in _lost(wanted):
        path.unlink()
    for path in _stale(wanted):
        path.write_text(wanted[path])
    return 0


def _check(head: Path, text: str) -> int:
    if head.read_text() != text:
        print(
            f"{head.relative_to(K8S)} has not the version {__version__}; run: python -m scripts.render_chart"
        )
        return 1
    wanted = _wanted()
    differing = [*_stale(wanted), *_lost(wanted)]
    for path in differing:
        print(f"{path.relative_to(K8S)} is out of date; run: python -m scripts.render_chart")
    return 1 if differing else 0


def _wanted() -> dict[Path, str]:
    return {RENDERED / f"{name}.yaml": render(values) for name, values in examples().items()}


def _stale(wanted: Mapping[Path, str]) -> list[Path]:
    return [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]


def _lost(wanted: Mapping[Path, str]) -> list[Path]:
    return sorted(set(RENDERED.glob("*.yaml")) - wanted.keys())


if __name__ == "__main__":
    sys.exit(main())
