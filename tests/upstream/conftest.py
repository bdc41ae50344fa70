"""What imports SGLang itself: `make test-sglang` runs it in SGLang's environment, without an engine."""

from __future__ import annotations

from engine_worker.engines.sglang.upstream import environment

environment.prepare(threads=1, generates=True)
