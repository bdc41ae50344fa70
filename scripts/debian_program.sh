#!/usr/bin/env bash
# debian_program.sh PACKAGE PROGRAM: prints where PROGRAM is. One on the PATH is used; else that of Debian's PACKAGE is
# unpacked, once, into .venv-lint-deploy: nothing is installed and no service is started.
set -euo pipefail
cd "$(dirname "$0")/.."
package=$1 program=$2
home=$PWD/.venv-lint-deploy/$program

unpack() {
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || {
    printf '%s: not found, and this is no Debian to take it from: install it\n' "$program" >&2
    exit 1
  }
  folder=$(mktemp -d -t "drover-$program-XXXXXX")
  trap 'rm -rf "$folder"' EXIT
  (
    cd "$folder"
    apt-get download -qq "$package" 2>/dev/null || { apt-get update -qq && apt-get download -qq "$package"; } >&2
    dpkg-deb --extract "$package"_*.deb .
    install -D "usr/bin/$program" "$home"
  )
}

if ! command -v "$program"; then
  [ -x "$home" ] || unpack
  printf '%s\n' "$home"
fi
