"""The Helm chart as it comes out for each set of example values, kept beside it:
`python -m scripts.render_chart`, with `--check` for CI.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import helm_python as helm
import yaml

K8S = Path(__file__).resolve().parents[1] / "deploy" / "k8s"
CHART, OVERLAYS, RENDERED = K8S / "chart", K8S / "overlays", K8S / "rendered"
_RELEASE, _NAMESPACE = "drover", "llm"

Values = Mapping[str, object]


def examples() -> dict[str, Values]:
    """By name; `default` is the chart as it is."""
    found: dict[str, Values] = {"default": {}}
    for path in sorted(OVERLAYS.glob("*.yaml")):
        found[path.stem] = yaml.safe_load(path.read_text())
    return found


def render(values: Values, release: str = _RELEASE) -> str:
    """One YAML stream, file by file. Raises helm.HelmError where the chart refuses the values."""
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
    check = "--check" in sys.argv[1:]
    wanted = {RENDERED / f"{name}.yaml": render(values) for name, values in examples().items()}
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    lost = sorted(set(RENDERED.glob("*.yaml")) - wanted.keys())
    if check:
        for path in [*stale, *lost]:
            print(f"{path.relative_to(K8S)} is not what the chart gives; run: python -m scripts.render_chart")
        return 1 if stale or lost else 0
    for path in lost:
        path.unlink()
    for path in stale:
        path.write_text(wanted[path])
    return 0


if __name__ == "__main__":
    sys.exit(main())
