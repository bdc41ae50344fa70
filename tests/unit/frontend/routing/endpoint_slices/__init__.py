"""Workers behind a Service of Kubernetes, against a played API."""
