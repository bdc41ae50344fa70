#!/usr/bin/env bash
# with_promtool.sh COMMAND…: runs it with DROVER_PROMTOOL set.
set -euo pipefail
DROVER_PROMTOOL=$("$(dirname "$0")/debian_program.sh" prometheus promtool)
export DROVER_PROMTOOL
exec "$@"
