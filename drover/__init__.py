"""Shared by both tiers: the generated contract (`v1`), errors, settings, logs and the gRPC boundary."""

# The version of both tiers, the chart and the images: pyproject.toml and scripts/render_chart.py read it from
# here.
__version__ = "0.1.0"
