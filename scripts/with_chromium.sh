#!/usr/bin/env bash
# with_chromium.sh COMMAND…: runs it where there is a Chromium or Chrome; on a Debian and as root one is installed first.
# CHROMIUM names another one.
set -euo pipefail

chromium=${CHROMIUM:-$(command -v chromium || command -v google-chrome || echo /usr/bin/chromium)}
if [ ! -x "$chromium" ]; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    printf 'there is no %s, and none can be installed here; CHROMIUM=/path/to/chromium names another one\n' "$chromium" >&2
    exit 1
  fi
  printf 'installing chromium\n' >&2
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
fi
export CHROMIUM=$chromium
exec "$@"
