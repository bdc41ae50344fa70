#!/usr/bin/env bash
# Resolves requirements/*.in into hashed, complete *.txt files.
set -euo pipefail
cd "$(dirname "$0")/../requirements"
for name in frontend worker dev; do
  ../.venv/bin/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-header --no-annotate \
    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file "$name.txt" "$name.in"
done
