#!/usr/bin/env bash
# Many commands, each in a sandbox of its own, by backend, of a release build: 100 of them, 10 at once, if nothing is said.
#
#   scripts/stress-test.sh [COUNT [AT_ONCE [more words for bench run]]]
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec cargo run --quiet --release --locked -- bench run stress --count "${1:-100}" --at-once "${2:-10}" "${@:3}"
