"""The engine worker: one process, one engine, one model, behind the gRPC service drover.v1.Engine."""

import os

# gRPC reads it when it is imported. Workers and hosts start processes and never run gRPC in a fork: its
# handlers of forks are of no use, and while other threads are in gRPC they kill the new process before its
# program begins.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
