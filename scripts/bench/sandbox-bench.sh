#!/usr/bin/env bash
# Measures gVisor against runc on the bundle of our sandboxes: builds the harness and hands all words on to it.
#
#   scripts/bench/sandbox-bench.sh --iterations 50
#   BENCH_ROOTFS=DIR BENCH_MEM_MB=512 BENCH_CPUS=1 scripts/bench/sandbox-bench.sh
#   BENCH_IMAGE=busybox@sha256:DIGEST scripts/bench/sandbox-bench.sh
#
# BENCH_PROFILE is cargo's profile for the harness (release); what runs inside is optimised in any case.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
readonly root profile="${BENCH_PROFILE:-release}"
# What sudo is to leave in the environment: ours, and what says where a container engine is and how it gets images.
variables=BENCH_IMAGE,BENCH_ROOTFS,BENCH_MEM_MB,BENCH_CPUS
variables+=,DOCKER_HOST,DOCKER_CONTEXT,DOCKER_CONFIG,DOCKER_CERT_PATH,DOCKER_TLS,DOCKER_TLS_VERIFY,DOCKER_API_VERSION
variables+=,DOCKER_DEFAULT_PLATFORM,CONTAINER_HOST,CONTAINER_CONNECTION,CONTAINER_SSHKEY,CONTAINERS_CONF
variables+=,CONTAINERS_REGISTRIES_CONF,CONTAINERS_STORAGE_CONF,REGISTRY_AUTH_FILE,SSH_AUTH_SOCK
variables+=,HTTP_PROXY,HTTPS_PROXY,NO_PROXY,http_proxy,https_proxy,no_proxy
readonly variables

# What the harness is built from, and whether that is committed.
commit() {
  local commit
  commit="$(git -C "$root" rev-parse HEAD 2>/dev/null)" || return 0
  git -C "$root" diff --quiet HEAD 2>/dev/null || commit+=" and changes"
  printf '%s' "$commit"
}

needs_root() {
  local word
  for word in "$@"; do
    case "$word" in
      --self-test | --help | -h | --version | -V) return 1 ;;
    esac
  done
  ((EUID != 0))
}

main() {
  cargo build --quiet --locked --manifest-path "$root/Cargo.toml" --package agentkernel-bench --profile "$profile" >&2
  local folder="$profile" target_dir="${CARGO_TARGET_DIR:-$root/target}" commit run=()
  [[ "$profile" != dev ]] || folder=debug
  commit="$(commit)"
  if needs_root "$@"; then run=(sudo "--preserve-env=$variables"); fi
  exec "${run[@]}" "$target_dir/$folder/agentkernel-bench" ${commit:+--commit "$commit"} "$@"
}

main "$@"
