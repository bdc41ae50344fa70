"""Engine workers over gRPC: one stream for all requests to a worker."""
