#!/usr/bin/env bash
# SPDX-License-Identifier: PostgreSQL
# Sees to the Debian packages that building (build), testing (test) and measuring (bench) need, on
# Debian 12 and 13. As root it installs what is missing, without starting any server and without
# creating a PostgreSQL cluster; as anybody else it prints the one command that would.
#
#   cmake/deps.sh build
#   cmake/deps.sh build test bench demo
set -euo pipefail

# a|b: the first that is installed, else the first that can be
build=(gcc libc6-dev make cmake ninja-build pkg-config libuv1-dev libpq-dev libyajl-dev libyaml-dev
  libmbedtls-dev libc-ares-dev "libllhttp-dev|node-llhttp" libcmocka-dev)
demo=(postgresql etcd-server haproxy python3 python3-psycopg2 python3-yaml)
test=("${demo[@]}" etcd-client clang libclang-rt-dev llvm valgrind libc6-dbg strace procps iproute2
  util-linux python3-pytest python3-pytest-xdist python3-pytest-timeout
  curl prometheus chromium chromium-driver python3-selenium
  # what Patroni, which the mixed clusters run, needs besides
  python3-urllib3 python3-click python3-prettytable python3-dateutil python3-psutil
  python3-dnspython python3-cdiff xz-utils)
bench=("${test[@]}" wrk)
format=(clang-format)

have=$(dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' | sed -n 's/^ii *//p')

installed() {
  [[ $'\n'$have$'\n' == *$'\n'"$1"$'\n'* ]]
}

available() {
  [[ $(apt-cache policy "$1" 2>/dev/null | awk '/Candidate:/ { print $2 }') == [0-9]* ]]
}

find_missing() {
  local entry package
  missing=()
  for entry in "$@"; do
    for package in ${entry//|/ }; do
      installed "$package" && continue 2
    done
    for package in ${entry//|/ }; do
      if available "$package"; then
        missing+=("$package")
        continue 2
      fi
    done
    missing+=("${entry%%|*}")
  done
}

wanted=()
for group in "$@"; do
  declare -n packages=$group
  wanted+=("${packages[@]}")
done
find_missing "${wanted[@]}"
[[ ${#missing[@]} == 0 ]] && exit 0

if [[ $(id -u) != 0 ]]; then
  echo "Some Debian packages are missing. Install them as root with:" >&2
  echo "  apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
fi

echo "deps: installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive

# postgresql would create and start a cluster of its own, the other servers would start too
if ! installed postgresql-common; then
  mkdir -p /etc/postgresql-common
  grep -qs '^create_main_cluster' /etc/postgresql-common/createcluster.conf ||
    echo 'create_main_cluster = false' >>/etc/postgresql-common/createcluster.conf
fi
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi

apt_get() {
  apt-get -qq -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@"
}

log=$(mktemp)
for package in "${missing[@]}"; do
  if ! available "$package"; then
    apt_get update >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
    find_missing "${wanted[@]}" # the lists may offer other alternatives now
    break
  fi
done
if ! apt_get install -y --no-install-recommends "${missing[@]}" >"$log" 2>&1; then
  apt_get update >>"$log" 2>&1 && apt_get install -y --no-install-recommends "${missing[@]}" >>"$log" 2>&1 ||
    { tail -n 40 "$log" >&2; exit 1; }
fi
rm -f "$log"
