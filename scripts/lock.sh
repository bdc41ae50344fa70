#!/usr/bin/env bash
# Resolves requirements/*.in into hashed, complete *.txt files: all that are named, or all but sglang, whose
# two hundred packages take some minutes.
set -euo pipefail
cd "$(dirname "$0")/../requirements"
[ $# -gt 0 ] || set -- frontend worker dev clients
for name in "$@"; do
  ../.venv/bin/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-header --no-annotate \
    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file "$name.txt" "$name.in"
done
