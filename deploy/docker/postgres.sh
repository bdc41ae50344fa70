#!/bin/sh
# Makes the cluster, its user and its database at the first start; then runs the server.
# POSTGRES_PASSWORD: the password of the user `drover`, which owns the database `drover`.
set -eu
umask 077
: "${POSTGRES_PASSWORD:?is not set}"
programs=$(echo /usr/lib/postgresql/*/bin)
data=/var/lib/drover/cluster

if [ ! -d "$data" ]; then
  # Under another name until it is whole.
  rm -rf "$data.new"
  printf '%s\n' "$POSTGRES_PASSWORD" > /tmp/password
  "$programs/initdb" --pgdata "$data.new" --username drover --pwfile /tmp/password --encoding UTF8 \
    --auth scram-sha-256 --no-instructions
  rm /tmp/password
  echo 'host all all all scram-sha-256' >> "$data.new/pg_hba.conf"
  echo 'CREATE DATABASE drover' | "$programs/postgres" --single -D "$data.new" postgres
  mv "$data.new" "$data"
fi
unset POSTGRES_PASSWORD
exec "$programs/postgres" -D "$data" -c listen_addresses='*' -c unix_socket_directories=/tmp
