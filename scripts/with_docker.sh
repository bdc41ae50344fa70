#!/usr/bin/env bash
# with_docker.sh COMMAND…: runs it with a Docker engine. One that can be reached already is used and left alone.
# Else, on a Debian and as root, one is installed and started in a temporary folder, gets a base image made on the
# spot in place of python:3.11-slim (nothing is pulled), and afterwards nothing of it is left.
set -euo pipefail

say() { printf 'docker: %s\n' "$1" >&2; }

firewalls() { for each in iptables ip6tables; do command -v "$each" || true; done; }

install_engine() {
  command -v dockerd >/dev/null && command -v iptables >/dev/null && command -v mmdebstrap >/dev/null && return
  say "installing docker.io, iptables and mmdebstrap"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    docker.io iptables mmdebstrap >/dev/null
}

start_engine() {
  if ip link show docker0 >/dev/null 2>&1 || iptables-save 2>/dev/null | grep -q '^:DOCKER '; then
    say "another engine runs here, or has left docker0 or its rules behind: name it in DOCKER_HOST, or clean up"
    exit 1
  fi
  folder=$(mktemp -d -t drover-docker-XXXXXX)
  forward=$(iptables -S FORWARD | head -n 1)
  ip_forward=$(cat /proc/sys/net/ipv4/ip_forward)
  command=
  trap stop_engine EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  export DOCKER_HOST=unix://$folder/docker.sock
  # In a session of its own: Ctrl-C must not reach it before us.
  setsid dockerd --data-root "$folder/data" --exec-root "$folder/exec" --host "$DOCKER_HOST" \
    --pidfile "$folder/docker.pid" >"$folder/log" 2>&1 </dev/null &
  engine=$!
  for _ in $(seq 100); do
    docker info >/dev/null 2>&1 && return
    kill -0 "$engine" 2>/dev/null || break
    sleep 0.2
  done
  say "the engine did not start:"
  tail -n 20 "$folder/log" >&2
  exit 1
}

stop_engine() {
  status=$?
  trap - EXIT INT TERM
  set +e
  if [ -n "$command" ] && kill "$command" 2>/dev/null; then wait "$command"; fi
  # Containers outlive their engine.
  timeout 20 docker ps --all --quiet | xargs --no-run-if-empty timeout 60 docker rm --force --volumes >/dev/null
  timeout 20 docker network prune --force >/dev/null
  kill "$engine" 2>/dev/null
  for _ in $(seq 150); do
    kill -0 "$engine" 2>/dev/null || break
    sleep 0.2
  done
  kill -KILL "$engine" 2>/dev/null
  forget_network
  awk -v below="$folder/" 'index($2, below) == 1 { print $2 }' /proc/self/mounts | sort -r | while read -r mount; do
    umount "$mount"
  done
  rm -rf "$folder"
  exit "$status"
}

# Docker's rules, and what it has set; rules of others stay.
forget_network() {
  for firewall in $(firewalls); do
    for table in filter nat raw; do
      "$firewall-save" -t "$table" 2>/dev/null | grep -E '^-A .*(DOCKER|docker0|br-[0-9a-f]{12})' | while read -r rule; do
        # shellcheck disable=SC2086 # words of a rule
        "$firewall" -t "$table" ${rule/#-A/-D}
      done
      for chain in $("$firewall-save" -t "$table" 2>/dev/null | sed -n 's/^:\(DOCKER[^ ]*\) .*/\1/p'); do
        "$firewall" -t "$table" -X "$chain"
      done
    done
  done
  # shellcheck disable=SC2086 # -P FORWARD ACCEPT
  iptables $forward
  printf '%s' "$ip_forward" >/proc/sys/net/ipv4/ip_forward
  ip link delete docker0 2>/dev/null
}

# A Debian with Python and pip under the paths of Docker's own Python images.
make_base() {
  say "making a base image from packages"
  # shellcheck disable=SC2016 # $1 is mmdebstrap's
  mmdebstrap --quiet --variant=minbase --include=python3,python3-pip,python3-venv,ca-certificates \
    --customize-hook='copy-in /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs' \
    --customize-hook='rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED' \
    --customize-hook='ln -s /usr/bin/python3 "$1/usr/local/bin/python3"' \
    --customize-hook='ln -s /usr/bin/python3 "$1/usr/local/bin/python"' \
    --customize-hook='ln -s /usr/bin/pip3 "$1/usr/local/bin/pip"' \
    "$(. /etc/os-release && echo "$VERSION_CODENAME")" - |
    docker import \
      --change 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt' \
      --change 'CMD ["python3"]' - python:3.11-slim >/dev/null
}

if docker info >/dev/null 2>&1; then
  say "using the engine at ${DOCKER_HOST:-its usual place}"
  exec "$@"
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  say "no engine can be reached, and none can be installed here"
  exit 1
fi
install_engine
start_engine
make_base
export BUILD_NETWORK=host
# In the background, since a signal would wait for what is in the foreground.
"$@" &
command=$!
wait "$command"
