# SPDX-License-Identifier: MIT OR Apache-2.0
# shellcheck shell=bash
#
# What every script of the rig shares: messages, the cache, the mirror, and
# the one way into the Debian root.  Source it; it runs nothing by itself.

set -euo pipefail
export LC_ALL=C
# With it cd goes elsewhere, and says so on stdout.
unset CDPATH

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

. "$QEMU_DIR/messages.sh"
. "$QEMU_DIR/cache.sh"

case $REPO in
*:*) die "a path with a colon can't be mounted, and this is $REPO" ;;
esac
[ "$(uname -m)" = x86_64 ] || die "this is for x86-64 machines only, and not for $(uname -m)"
case $FLAVOUR in
cloud-amd64 | amd64 | rt-amd64 | debug) ;;
*) die "FLAVOUR=$FLAVOUR: want cloud-amd64, amd64, rt-amd64 or debug" ;;
esac

hash_of() { sha256sum | cut -c1-16; }

# files PATTERN... - the files of the repository, those not yet added included, but no cache
# that lies in it. The owner may be another user than root, who runs this; a tarball has no
# git to ask, and neither has a worktree without the repository that it is of.
files() {
	local git=(git -C "$REPO" -c safe.directory="$REPO" -c core.quotePath=off) inside=
	case $CACHE in
	"$(realpath "$REPO")"/*) inside=${CACHE#"$(realpath "$REPO")/"} ;;
	esac
	if [ -e "$REPO/.git" ] && "${git[@]}" rev-parse >/dev/null 2>&1; then
		"${git[@]}" ls-files -co --exclude-standard ${inside:+-x "/$inside/"} -- "$@" |
			while IFS= read -r file; do [ ! -f "$REPO/$file" ] || echo "$file"; done
		return
	fi
	local pattern wanted=()
	for pattern in "$@"; do
		wanted+=(-o -path "./$pattern")
	done
	(cd "$REPO" && find . \( -path ./target -o -path ./.git ${inside:+-o -path "./$inside"} \) -prune -o -type f \( "${wanted[@]:1}" \) -print) |
		cut -c3- | sort
}

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
	local ids
	ids=$(free_ids /etc/subuid /etc/subgid)
	grep -q "^$(id -un):\|^$(id -u):" /etc/subuid 2>/dev/null &&
		grep -q "^$(id -un):\|^$(id -u):" /etc/subgid 2>/dev/null ||
		die "$(id -un) has no subordinate ids; as root:" \
			"usermod --add-subuids $ids --add-subgids $ids $(id -un)"
	as_root true 2>/dev/null ||
		die "this system refuses user namespaces to plain users: run this as root, or as root:" \
			"sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000" \
			"sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
}

# free_ids FILE... - the first range of 65536 ids behind all that the FILEs give to somebody.
free_ids() {
	{ cat "$@" 2>/dev/null || true; } | awk -F: '
		!/^#/ && $2 ~ /^[0-9]+$/ && $3 ~ /^[0-9]+$/ && $2 + $3 > first { first = $2 + $3 }
		BEGIN { first = 100000 }
		END { printf "%d-%d\n", first, first + 65535 }'
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

# in_root [-H] [-b FROM:TO]... [-e NAME=VALUE]... [-C DIR] CMD... - runs CMD in the root. The
# repository is /repo there, the cache /cache. Both have the same path for
# everybody, so that what is built holds no path of this machine. With -H all has the
# path that it has here.
in_root() {
	as_root "$QEMU_DIR/enter.sh" "$(root_dir)" "$REPO" "$CACHE" "$@"
}

# check_place DIR - whether in_root -H shows it: tools and /etc are the root's own.
check_place() {
	case $1/ in
	/usr/src/* | /usr/local/src/*) ;;
	/usr/* | /etc/* | /dev/* | /proc/*) die "$1 can't be seen from the root: move it below /home, say" ;;
	esac
}
