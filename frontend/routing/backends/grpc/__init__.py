"""Engine workers over gRPC: one stream for all requests of a worker."""
