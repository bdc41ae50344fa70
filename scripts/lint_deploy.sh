#!/usr/bin/env bash
# Looks at what is deployed with other people's rules; each exception and its reason is in the files named here.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=.venv-lint-deploy/bin
"$tools/checkov" --config-file deploy/k8s/checkov.yaml --directory deploy/k8s/rendered
shopt -s nullglob
dockerfiles=(deploy/docker/*.Dockerfile)
if [ ${#dockerfiles[@]} -gt 0 ]; then
  "$tools/hadolint" --config deploy/hadolint.yaml "${dockerfiles[@]}"
  "$tools/checkov" --config-file deploy/checkov-docker.yaml --directory deploy/docker
fi
echo "lint-deploy: nothing to say"
