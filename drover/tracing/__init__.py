"""Traces of requests through both tiers, by OpenTelemetry.

`environment.py` says whether tracing is configured, and imports the SDK only then. `tracing.py` and `span.py`
are all that the tiers use; `sdk.py` builds the SDK from the variables that OpenTelemetry defines; `export.py`
keeps failures of the export out of the way of requests and of the log.
"""
