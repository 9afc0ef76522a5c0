#!/bin/bash
# Runs a program of an ordinary user beside a systemd of his, to which control groups are delegated: as on a host that systemd
# has started. To be run as root, on cgroup v2, in a mount namespace of its own.
#
#   systemd.sh LISTS USER PROGRAM [ARGUMENT]…      LISTS: folder of the lists of users that the program sees
set -euo pipefail
lists="$1" user="$2"
shift 2
for list in passwd subuid subgid; do
  mount --bind "$lists/$list" "/etc/$list"
done

# A systemd of a user begins only where that of the host is.
if [[ ! -d /run/systemd/system ]]; then
  mkdir -p /run/systemd
  mount -t tmpfs tmpfs /run/systemd
  mkdir /run/systemd/system
fi

readonly GROUP="/sys/fs/cgroup/agentkernel-test-$$"
as_user=(setpriv --reuid "$user" --regid "$user" --clear-groups --)

# delegate GROUP: makes a group of the user's.
delegate() {
  mkdir "$1"
  chown "$user:$user" "$1" "$1"/cgroup.{procs,subtree_control,threads}
}

# Ends all that is in the group, and removes it.
clean_up() {
  status=$?
  echo 1 >"$GROUP/cgroup.kill"
  for _ in {1..100}; do
    find "$GROUP" -depth -type d -exec rmdir {} + 2>/dev/null && exit "$status"
    sleep 0.1
  done
  echo "$GROUP is left" >&2
  exit 99
}

echo '+cpu +memory +pids' >/sys/fs/cgroup/cgroup.subtree_control
delegate "$GROUP"
trap clean_up EXIT
delegate "$GROUP/init.scope"
(
  echo "$BASHPID" >"$GROUP/init.scope/cgroup.procs"
  exec "${as_user[@]}" /lib/systemd/systemd --user --log-target=null >/dev/null 2>&1
) &
is_up() { [[ -S $XDG_RUNTIME_DIR/systemd/private && -d $GROUP/app.slice ]]; }
for _ in {1..600}; do
  is_up && break
  sleep 0.1
done
is_up || { echo "the systemd of the user does not come up" >&2; exit 98; }
# Where systemd starts what the user asks for.
delegate "$GROUP/app.slice/program.scope"
echo '+cpu +memory +pids' >"$GROUP/app.slice/cgroup.subtree_control"
(
  echo "$BASHPID" >"$GROUP/app.slice/program.scope/cgroup.procs"
  exec "${as_user[@]}" "$@"
)
