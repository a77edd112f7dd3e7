#!/usr/bin/env bash
# Installs the third-party peers that tests run against, under ${CARRICK_PEERS:-~/.cache/carrick-peers}.
#   install.sh [--install] [kubo]     gets what is not there yet
#   install.sh --check [kubo]         fails where something is not there
# What is there already costs nothing; a run that was cut short is done again. Sources come through Go's module proxy,
# at the versions and checksums pinned in kubo/. Needs Go 1.26 and, to run the peers, Python 3.11.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
peers=${CARRICK_PEERS:-$HOME/.cache/carrick-peers}
kubo_version=$(sed -n 's/^require github.com\/ipfs\/kubo v//p' "$here/kubo/go.mod")

has_kubo() { [ "$("$1" version -n 2>/dev/null)" = "$kubo_version" ]; }

# One that is there is taken if its version is the pinned one; otherwise it is built, with Go caches of its own, which are
# removed. KEEP_GO_CACHE=1 uses and keeps yours.
install_kubo() {
  if has_kubo "$peers/bin/ipfs"; then return; fi
  mkdir -p "$peers/bin"
  if has_kubo ipfs; then
    ln -sf "$(command -v ipfs)" "$peers/bin/ipfs"
    return
  fi
  command -v go > /dev/null || { echo "Kubo is built with Go 1.26: install it, or put ipfs $kubo_version into PATH" >&2; exit 1; }
  echo "building Kubo $kubo_version; this takes about three minutes, once" >&2
  rm -rf "$peers"/kubo-build.* # of a run that was killed
  work=$(mktemp -d "$peers/kubo-build.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  if [ "${KEEP_GO_CACHE:-}" != 1 ]; then export GOMODCACHE=$work/mod GOCACHE=$work/cache; fi
  (cd "$here/kubo" && CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS='-mod=readonly -modcacherw -trimpath -buildvcs=false' \
    go build -ldflags '-s -w' -o "$work/ipfs" github.com/ipfs/kubo/cmd/ipfs)
  mv "$work/ipfs" "$peers/bin/ipfs"
  has_kubo "$peers/bin/ipfs"
}

there() { if [ -n "${CARRICK_IPFS:-}" ]; then [ -x "$CARRICK_IPFS" ]; else has_kubo "$peers/bin/ipfs"; fi; }

check=
case ${1:-} in
  --check) check=1; shift ;;
  --install) shift ;;
esac
if [ -n "$check" ]; then there; exit; fi

mkdir -p "$peers"
# Two installs at once: the second waits, then finds everything done.
if command -v flock > /dev/null; then
  exec 9> "$peers/.lock"
  flock 9
fi
for wanted in "${@:-kubo}"; do
  case $wanted in
    kubo) install_kubo ;;
    *) echo "usage: install.sh [kubo]" >&2; exit 2 ;;
  esac
done
