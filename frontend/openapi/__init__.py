"""What the HTTP interface is, for machines: OpenAPI 3.1, built once at start."""
