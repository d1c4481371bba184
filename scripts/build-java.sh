#!/usr/bin/env bash
# Builds the bootstrap of the Java runtimes, internal/runtimes/java/runtime.jar. The same JDK gives the same bytes; javac-version
# names the one that made what is committed.
#
#   scripts/build-java.sh           builds
#   scripts/build-java.sh --check   builds aside and fails when the committed file differs; skips without that JDK
set -euo pipefail
cd "$(dirname "$0")/../internal/runtimes/java"

check=no
case ${1:-} in
'') ;;
--check) check=yes ;;
*)
  echo "usage: scripts/build-java.sh [--check]" >&2
  exit 2
  ;;
esac

home=
for candidate in ${JAVA_HOME:+"$JAVA_HOME"} /usr/lib/jvm/*; do
  if [ -x "$candidate/bin/javac" ]; then
    found=$("$candidate/bin/javac" -version 2>&1 || true)
    if [ $check = no ] || [ "$found" = "$(cat javac-version)" ]; then
      home=$candidate
      break
    fi
  fi
done
if [ -z "$home" ]; then
  if [ $check = yes ]; then
    echo "runtime.jar was not checked: this needs $(cat javac-version)"
    exit 0
  fi
  echo "building runtime.jar needs a JDK 17 or newer: install Debian's default-jdk-headless" >&2
  exit 1
fi

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$home/bin/javac" -Xlint:all -Werror --release 11 -g:source,lines -d "$tmp/classes" src/hansom/runtime/*.java
(cd "$tmp/classes" && find . -name '*.class' | LC_ALL=C sort | sed 's#^\./##' >"$tmp/list")
(cd "$tmp/classes" && "$home/bin/jar" --create --no-manifest --no-compress --date=1980-01-02T00:00:00Z --file "$tmp/runtime.jar" @"$tmp/list")
if [ $check = no ]; then
  install -m 0644 "$tmp/runtime.jar" runtime.jar
  "$home/bin/javac" -version >javac-version 2>&1
elif ! cmp "$tmp/runtime.jar" runtime.jar; then
  echo "runtime.jar is not what $(cat javac-version) builds from the sources: run scripts/build-java.sh and commit the result" >&2
  exit 1
fi
