# SPDX-License-Identifier: MIT OR Apache-2.0
# shellcheck shell=bash
#
# Where the Debian root and the kernel trees are kept. lib.sh sources it.
#
# The directory is whatever ALPC_CACHE names, so it may be somebody's disk: the rig works
# in an empty one, or one with its mark, and deletes by name what it has made.

# A home directory there is for everybody. sudo keeps the caller's HOME on some systems.
# Root's caches must not land in a home that is not root's: nothing of the caller may end
# up owned by root.
if [ -z "${HOME:-}" ] || { [ "$(id -u)" = 0 ] && [ -z "${ALPC_CACHE:-}" ]; }; then
	HOME=$(getent passwd "$(id -u)" | cut -d: -f6) || true
	[ -n "$HOME" ] || HOME=/nonexistent
	export HOME
	[ "$(id -u)" != 0 ] || [ -z "${SUDO_UID:-}" ] || unset XDG_CACHE_HOME CARGO_HOME
fi
CACHE=${ALPC_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/alpc}
case $CACHE in
/*) ;;
*) CACHE=$REPO/$CACHE ;;
esac
# Where it really is: through a link neither its entries nor what is mounted there are seen.
CACHE=$(realpath -m -- "$CACHE")
case $CACHE in
/) die "ALPC_CACHE=/: name a directory of its own" ;;
*:*) die "ALPC_CACHE=$CACHE: a path with a colon can't be mounted" ;;
esac

# What says that a directory is the rig's.
MARK=.alpc-cache

# is_ours NAME - whether something in the cache has a name that the rig gives.
is_ours() {
	local hash='[0-9a-f]{16}'
	[[ $1 =~ ^((root|kernel|debug|release)-$hash(\.tmp)?|(kernel|debug|cargo)\.tmp|(root|debug)\.log|kernel-(list|fetch|[0-9].*)\.log|kvm-[0-9a-f-]{36}|cargo|lock|\.alpc-cache)$ ]]
}

# entries - the names in the cache; a file system of its own has a directory for fsck.
entries() { find "$CACHE" -mindepth 1 -maxdepth 1 ! -name lost+found -printf '%f\n'; }

# stranger - the first thing in the cache that isn't the rig's, if there is one.
stranger() {
	local name
	while IFS= read -r name; do
		is_ours "$name" || {
			echo "$name"
			return 0
		}
	done < <(entries)
	return 1
}

# Makes the directory, or makes sure that it is the rig's. A cache of an older version has
# no mark, but a lock and names of the rig's only, or a whole root.
use_cache() {
	local other whole
	mkdir -p "$CACHE" 2>/dev/null ||
		die "no right, or no disk, to make $CACHE" "ALPC_CACHE= names another place"
	[ ! -e "$CACHE/$MARK" ] || return 0
	if other=$(stranger); then
		whole=$(compgen -G "$CACHE/root-*/etc/debian_version") || true
		[ -n "$whole" ] || die "$CACHE holds other things ($other)" \
			"name a directory of its own: ALPC_CACHE=$CACHE/alpc"
		return 0
	fi
	[ -z "$(entries)" ] || [ -e "$CACHE/lock" ] || die "$CACHE isn't empty, and not the rig's" \
		"name a directory of its own: ALPC_CACHE=$CACHE/alpc"
	echo "Made by the rig of ALPC for Linux: make distclean removes it." 2>/dev/null >"$CACHE/$MARK" ||
		die "no right, or no disk, to write to $CACHE" "ALPC_CACHE= names another place"
}

# One builder at a time in the cache; a second make waits for it.
lock_cache() {
	use_cache
	[ -w "$CACHE" ] || die "no right to write to $CACHE" "ALPC_CACHE= names another place"
	exec 9>>"$CACHE/lock"
	if ! flock -n 9; then
		say "waiting for another make that uses $CACHE"
		flock 9
	fi
	# Whoever had it may have removed the cache.
	[ "$CACHE/lock" -ef /proc/self/fd/9 ] || lock_cache
}
unlock_cache() { exec 9>&-; }

# mounted_in PATH - where the first file system is mounted at or below PATH, if one is.
mounted_in() {
	WITHIN=$(realpath -s "$(realpath "$(dirname "$1")")/$(basename "$1")") awk '{
		at = $5
		gsub(/\\040/, " ", at); gsub(/\\011/, "\t", at); gsub(/\\012/, "\n", at); gsub(/\\134/, "\\", at)
		if (!found && (at == ENVIRON["WITHIN"] || index(at, ENVIRON["WITHIN"] "/") == 1)) {
			print at
			found = 1
		}
	}' /proc/self/mountinfo
}

# remove PATH... - deletes what the rig has made. What is mounted there is somebody's.
remove() {
	local path at
	for path in "$@"; do
		[ -e "$path" ] || [ -L "$path" ] || continue
		at=$(mounted_in "$path")
		[ -z "$at" ] || die "$at is mounted: unmount it first"
		# A plain user's root has files of its subordinate ids.
		rm -rf --one-file-system -- "$path" 2>/dev/null ||
			as_root rm -rf --one-file-system -- "$path" || die "no right to remove $path"
	done
}

# need_disk DIR MIB WHAT - with the lock held. What an interrupted run has left is of no
# use, and makes room first.
need_disk() {
	local have name
	while IFS= read -r name; do
		case $name in
		*.tmp) ! is_ours "$name" || remove "$CACHE/$name" ;;
		esac
	done < <(entries)
	have=$(df -Pm "$1" | awk 'NR == 2 { print $4 }')
	[ "$have" -ge "$2" ] ||
		die "no disk: $3 takes $2 MiB, and $have MiB are free" \
			"it would go under $1; ALPC_CACHE= moves it"
}

# discard PATH - removes that. Where this is interrupted, no rest of it passes for the whole.
discard() {
	local path=$1 at
	if [ -d "$path" ] && [ ! -L "$path" ] && [ "${path%.tmp}" = "$path" ]; then
		at=$(mounted_in "$path")
		[ -z "$at" ] || die "$at is mounted: unmount it first"
		remove "$path.tmp"
		mv -T "$path" "$path.tmp"
		path=$path.tmp
	fi
	remove "$path"
}

# Removes what the rig has made in the cache, and the directory if nothing else is there.
clear_cache() {
	local other name names=()
	[ -d "$CACHE" ] || return 0
	if [ ! -e "$CACHE/$MARK" ]; then
		! other=$(stranger) || die "$CACHE isn't the rig's alone ($other): nothing is removed"
		[ -e "$CACHE/lock" ] || [ -z "$(entries)" ] || die "$CACHE isn't the rig's: nothing is removed"
	fi
	lock_cache
	say "removing what was made in $CACHE"
	while IFS= read -r name; do
		case $name in
		lock | "$MARK") ;;
		*) ! is_ours "$name" || names+=("$CACHE/$name") ;;
		esac
	done < <(entries)
	for name in ${names[@]+"${names[@]}"}; do
		discard "$name"
	done
	# The lock goes last, and the mark with it.
	remove "$CACHE/$MARK" "$CACHE/lock"
	rmdir "$CACHE" 2>/dev/null || say "NOTE: the directory itself stays: it is mounted, or holds other things"
}
