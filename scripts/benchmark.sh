#!/usr/bin/env bash
# What one command costs and where its time goes, by backend, of a release build. More words go to `bench run`.
#
#   scripts/benchmark.sh --iterations 100 --vs docker
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec cargo run --quiet --release --locked -- bench run startup phases "$@"
