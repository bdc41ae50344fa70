"""What all property tests share."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Slow examples are no finding: other processes have this machine's cores too.
settings.register_profile("shared cores", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared cores")
