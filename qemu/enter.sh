#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# enter.sh ROOT REPO CACHE [-H] [-b FROM:TO]... [-e NAME=VALUE]... [-C DIR] CMD...
#
# The inner half of in_root: runs as root of a private mount namespace, makes
# ROOT's mounts there, and becomes CMD. The root itself is mounted read-only.
# With -H there is no /repo: tools and /etc are ROOT's, and all else is the host's and has
# the path it has there.
set -euo pipefail

root=$1 repo=$2 cache=$3
shift 3
dir=/repo
home=/root
host=
binds=("$repo:/repo" "$cache:/cache")
vars=(KSERIES="${KSERIES:-}" FLAVOUR="${FLAVOUR:-}" KRELEASE="${KRELEASE:-}" CARGO_HOME=/cache/cargo)
while [ $# -gt 0 ]; do
	case $1 in
	-H)
		host=yes dir=$repo home=${HOME:-/root}
		binds=()
		vars+=("CARGO_HOME=$cache/cargo")
		shift
		;;
	-b) binds+=("$2") && shift 2 ;;
	-e) vars+=("$2") && shift 2 ;;
	-C) dir=$2 && shift 2 ;;
	*) break ;;
	esac
done

mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
if [ -n "$host" ]; then
	# Both together, on an empty file system.
	whole=$root/mnt
	mount -t tmpfs -o mode=755 tmpfs "$whole"
	for name in bin sbin lib lib32 lib64 libx32 usr etc dev proc; do
		if [ -L "$root/$name" ]; then
			cp -P "$root/$name" "$whole/"
		elif [ -d "$root/$name" ]; then
			mkdir "$whole/$name"
			mount --rbind "$root/$name" "$whole/$name"
		fi
	done
	for path in /*; do
		name=${path##*/}
		[ -d "$path" ] && [ ! -e "$whole/$name" ] && [ ! -L "$whole/$name" ] || continue
		mkdir "$whole/$name"
		mount --rbind "$path" "$whole/$name" 2>/dev/null || true
	done
	# Where sources lie among the tools.
	for path in /usr/src /usr/local/src; do
		[ ! -d "$path" ] || [ ! -d "$whole$path" ] || mount --rbind "$path" "$whole$path"
	done
	root=$whole
else
	mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
	mount -t tmpfs tmpfs "$root/run"
	mount -t tmpfs tmpfs "$root/root"
fi
for bind in ${binds[@]+"${binds[@]}"}; do
	mount --bind "${bind%%:*}" "$root/${bind#*:}"
done
# Name resolution and the trusted certificates are the host's business.
for file in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt; do
	[ ! -e "$file" ] || [ ! -e "$root$file" ] || mount --bind "$(readlink -f "$file")" "$root$file"
done

for name in {http,https,no,all}_proxy {HTTP,HTTPS,NO,ALL}_PROXY; do
	[ -z "${!name:-}" ] || vars+=("$name=${!name}")
done

exec env -i \
	PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME="$home" LC_ALL=C.UTF-8 TERM="${TERM:-dumb}" \
	"${vars[@]}" \
	chroot "$root" /bin/sh -c 'cd "$0" && exec "$@"' "$dir" "$@"
