"""The engine worker: one process, one engine, one model, behind the gRPC service drover.v1.Engine."""
