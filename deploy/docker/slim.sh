#!/bin/sh
# Takes out of a Debian image what a server does not need: Python's package tools, documentation, translations,
# package lists, and the right of programs to become another user.
set -eu

installed() {
  for package in "$@"; do
    dpkg-query --show --showformat '${db:Status-Status} ${Package}\n' "$package" 2>/dev/null || true
  done | sed -n 's/^installed //p'
}

tools='python3-pip python3-pip-whl python3-setuptools python3-setuptools-whl python3-venv python3-wheel'
[ -n "${KEEP_PERL:-}" ] || tools="$tools perl perl-modules-* libperl5.*"
# shellcheck disable=SC2086 # words
installed $tools | xargs --no-run-if-empty apt-get purge -y --auto-remove

library=$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
rm -rf "$library/ensurepip" "$library/idlelib" "$library/test" "$library/turtledemo"
for folder in "$library/site-packages" /usr/local/lib/python3*/site-packages; do
  rm -rf "$folder"/pip "$folder"/pip-* "$folder"/setuptools* "$folder"/wheel* "$folder"/pkg_resources "$folder"/_distutils_hack
done
rm -f /usr/local/bin/pip* /usr/local/bin/wheel /usr/local/bin/idle* /usr/local/bin/pydoc*
rm -rf /usr/share/doc /usr/share/info /usr/share/locale /usr/share/man /usr/share/python-wheels
rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* /root/.cache
find / -xdev -type f -perm /6000 -exec chmod a-s {} +
