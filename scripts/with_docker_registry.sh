#!/usr/bin/env bash
# with_docker_registry.sh COMMAND…: runs it with DROVER_DOCKER_REGISTRY set.
set -euo pipefail
DROVER_DOCKER_REGISTRY=$("$(dirname "$0")/debian_program.sh" docker-registry docker-registry)
export DROVER_DOCKER_REGISTRY
exec "$@"
