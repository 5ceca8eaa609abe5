# SPDX-License-Identifier: MIT OR Apache-2.0
# shellcheck shell=bash
#
# What every script of the rig shares: messages, the cache, the mirror, and
# the one way into the Debian root.  Source it; it runs nothing by itself.

set -euo pipefail
export LC_ALL=C

QEMU_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(cd "$QEMU_DIR/.." && pwd)

KSERIES=${KSERIES:-7.3}
FLAVOUR=${FLAVOUR:-cloud-amd64}
SUITE=trixie
export KSERIES FLAVOUR

# What the root holds. One list, since it is part of the cache key.
ROOT_PACKAGES="gcc gcc-14 g++ libc6-dev make flex bison bc libelf-dev libssl-dev kmod
	cpio xz-utils rsync python3 rustc cargo rust-src rust-clippy rustfmt bindgen clang
	lld llvm libclang-dev pahole qemu-system-x86 zstd busybox-static secilc ca-certificates"

# How long the log of making it is, for the progress bar.
ROOT_LOG_LINES=1900

# sudo keeps the caller's HOME on some systems. Root's caches must not land in
# a home that is not root's: nothing of the caller may end up owned by root.
if [ "$(id -u)" = 0 ] && [ -z "${ALPC_CACHE:-}" ]; then
	HOME=$(getent passwd 0 | cut -d: -f6)
	[ -z "${SUDO_UID:-}" ] || unset XDG_CACHE_HOME CARGO_HOME
	export HOME
fi
CACHE=${ALPC_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/alpc}

# ---------------------------------------------------------------- messages

: "${ALPC_T0:=$(date +%s)}"
export ALPC_T0

# Every line of progress goes to stderr: stdout carries results.
say() { printf '[%4ds] %s\n' "$(($(date +%s) - ALPC_T0))" "$*" >&2; }
die() {
	printf 'error: %s\n' "$*" >&2
	exit 1
}

# with_progress LOG EXPECTED_LINES CMD... - runs CMD with its output in LOG,
# and on a terminal draws how far LOG has come. Shows LOG's end on failure.
with_progress() {
	local log=$1 want=$2 pid rc=0 n pct
	shift 2
	: >"$log"
	"$@" >"$log" 2>&1 </dev/null &
	pid=$!
	while kill -0 "$pid" 2>/dev/null; do
		sleep 1
		[ -t 2 ] || continue
		n=$(wc -l <"$log")
		pct=$((n * 100 / want))
		[ "$pct" -le 99 ] || pct=99
		printf '\r        [%-40s] %2d%% ' "$(printf '%*s' $((pct * 40 / 100)) '' | tr ' ' '#')" "$pct" >&2
	done
	[ ! -t 2 ] || printf '\r%60s\r' '' >&2
	wait "$pid" || rc=$?
	if [ "$rc" != 0 ]; then
		tail -n 40 "$log" >&2
		die "this failed: $* (all of it in $log)"
	fi
}

# need_disk DIR MIB WHAT
need_disk() {
	local have
	have=$(df -Pm "$1" | awk 'NR == 2 { print $4 }')
	[ "$have" -ge "$2" ] ||
		die "$3 takes $2 MiB of disk under $1, where $have MiB are free (ALPC_CACHE= moves it)"
}

hash_of() { sha256sum | cut -c1-16; }

# ------------------------------------------------------------------ the lock

# One builder at a time in the cache; a second make waits for it.
lock_cache() {
	mkdir -p "$CACHE"
	exec 9>"$CACHE/lock"
	if ! flock -n 9; then
		say "waiting for another make that uses $CACHE"
		flock 9
	fi
}
unlock_cache() { exec 9>&-; }

# ---------------------------------------------------------------- the mirror

# The Debian archive to use: MIRROR, else one the host's apt uses, else
# nothing, which leaves mmdebstrap its own default.
find_mirror() {
	local uri
	if [ -n "${MIRROR:-}" ]; then
		echo "$MIRROR"
	elif command -v apt-get >/dev/null; then
		uri=$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
			awk -F'|' '$1 == "Debian" && $2 == "Debian" && !done { print $3; done = 1 }')
		case $uri in
		# A list of mirrors in a file, which the root does not have.
		mirror+file:*) awk '/^[a-z]+:/ && !done { print $1; done = 1 }' "${uri#mirror+file:}" 2>/dev/null || true ;;
		mirror+*) ;;
		*) echo "$uri" ;;
		esac
	fi
}

# The host's proxy and date checks, as options for an apt elsewhere.
host_apt_options() {
	command -v apt-config >/dev/null || return 0
	apt-config dump | sed -n 's/^\(Acquire::\(http\|https\)::Proxy\|Acquire::Check-Valid-Until\|Acquire::Check-Date\) "\([^"]*\)";$/\1=\3/p'
}

# ------------------------------------------------------------------ the root

# as_root CMD... - runs CMD with the rights to build and enter the root, in a
# mount namespace of its own, so that no mount ever reaches the host. A plain
# user becomes root of a user namespace; what root makes there is the user's.
as_root() {
	# EXEC=exec: instead of this shell, so that killing it kills all of it.
	if [ "$(id -u)" = 0 ]; then
		${EXEC:-} unshare --mount --propagation private --pid --fork --kill-child "$@"
	else
		${EXEC:-} unshare --map-root-user --map-auto --mount --propagation private --pid --fork --kill-child "$@"
	fi
}

check_userns() {
	[ "$(id -u)" != 0 ] || return 0
	command -v newuidmap >/dev/null ||
		die "building as a plain user needs newuidmap: install uidmap, or run this as root"
	grep -q "^$(id -un):\|^$(id -u):" /etc/subuid && grep -q "^$(id -un):\|^$(id -u):" /etc/subgid ||
		die "$(id -un) has no subordinate ids: as root, usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $(id -un)"
	as_root true 2>/dev/null ||
		die "this system refuses user namespaces to plain users: as root, sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000 kernel.apparmor_restrict_unprivileged_userns=0, or run this as root"
}

root_key() {
	{
		echo "$SUITE" $ROOT_PACKAGES
		[ "$(id -u)" = 0 ] && echo root || echo user
		cat "$QEMU_DIR/root.sh"
	} | hash_of
}
root_dir() { echo "$CACHE/root-$(root_key)"; }

# What the tree of $FLAVOUR was built with, as arguments of make.
toolchain() {
	case $FLAVOUR in
	debug) echo LLVM=1 ;;
	*) echo CC=gcc-14 HOSTCC=gcc-14 ;;
	esac
}

# in_root [-b FROM:TO]... [-e NAME=VALUE]... [-C DIR] CMD... - runs CMD in the root. The
# repository is /repo there, the cache /cache. Both have the same path for
# everybody, so that what is built holds no path of this machine.
in_root() {
	as_root "$QEMU_DIR/enter.sh" "$(root_dir)" "$REPO" "$CACHE" "$@"
}
