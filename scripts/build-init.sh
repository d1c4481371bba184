#!/usr/bin/env bash
# Builds the init of the linux sandbox driver for every architecture into internal/sandbox/linux/embed. The same Go version gives
# the same bytes on every machine; go.mod names it.
#
#   scripts/build-init.sh           builds
#   scripts/build-init.sh --check   builds aside and fails when a committed file differs
set -euo pipefail
cd "$(dirname "$0")/.."

out=internal/sandbox/linux/embed
check=no
case ${1:-} in
'') ;;
--check)
  check=yes
  ;;
*)
  echo "usage: scripts/build-init.sh [--check]" >&2
  exit 2
  ;;
esac

# One Go for all, whatever is installed; flags of the environment would change the bytes.
version=$(cat "$out/go-version" 2>/dev/null || true)
if [ $check = no ]; then
  version=$(go env GOVERSION)
  mkdir -p "$out"
  echo "$version" >"$out/go-version"
fi
export GOTOOLCHAIN=$version+auto GOFLAGS= GOEXPERIMENT= GOAMD64=v1 GOARM64=v8.0 GOFIPS140=off CGO_ENABLED=0 GOOS=linux

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
for arch in amd64 arm64; do
  GOARCH=$arch go build -trimpath -buildvcs=false -ldflags '-s -w -buildid=' -o "$tmp/init-$arch" ./internal/sandbox/linux/init
  if [ $check = no ]; then
    install -m 0644 "$tmp/init-$arch" "$out/init-$arch"
  elif ! cmp "$tmp/init-$arch" "$out/init-$arch"; then
    echo "$out/init-$arch is not what $version builds from the sources: run scripts/build-init.sh and commit the result" >&2
    exit 1
  fi
done
