#!/usr/bin/env bash
# Generates the stubs of protos/drover/v1 into drover/v1, or with --check compares what is there.
set -euo pipefail
cd "$(dirname "$0")/.."

generate() {
  PATH="$PWD/.venv/bin:$PATH" .venv/bin/python -m grpc_tools.protoc -I protos \
    --python_out="$1" --grpc_python_out="$1" --mypy_out="quiet:$1" --mypy_grpc_out="quiet:$1" \
    drover/v1/engine.proto drover/v1/host.proto
}

if [ "${1:-}" != --check ]; then
  generate .
  exit
fi

fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
generate "$fresh"
for file in "$fresh"/drover/v1/*; do
  cmp -s "$file" "drover/v1/$(basename "$file")" || {
    echo "drover/v1/$(basename "$file") is not what protos/ gives: run 'make proto'" >&2
    exit 1
  }
done
