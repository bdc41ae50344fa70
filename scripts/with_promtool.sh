#!/usr/bin/env bash
# with_promtool.sh COMMAND…: runs it with DROVER_PROMTOOL set. A promtool on the PATH is used; else that of Debian's
# package prometheus is unpacked, once, into .venv-lint-deploy: nothing is installed and no service is started.
set -euo pipefail
cd "$(dirname "$0")/.."
home=$PWD/.venv-lint-deploy/promtool

unpack() {
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || {
    printf 'promtool: not found, and this is no Debian to take it from: install Prometheus\n' >&2
    exit 1
  }
  folder=$(mktemp -d -t drover-promtool-XXXXXX)
  trap 'rm -rf "$folder"' EXIT
  cd "$folder"
  apt-get download -qq prometheus 2>/dev/null || { apt-get update -qq && apt-get download -qq prometheus; }
  dpkg-deb --extract prometheus_*.deb .
  install -D usr/bin/promtool "$home"
  cd - >/dev/null
  rm -rf "$folder"
  trap - EXIT
}

DROVER_PROMTOOL=$(command -v promtool || true)
if [ -z "$DROVER_PROMTOOL" ]; then
  [ -x "$home" ] || unpack
  DROVER_PROMTOOL=$home
fi
export DROVER_PROMTOOL
exec "$@"
