#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Makes the Debian root in which kernel code is built and QEMU runs, once, and
# prints where it is. Nothing is written to it afterwards.
. "$(dirname "$0")/lib.sh"

root=$(root_dir)
if [ -e "$root/etc/debian_version" ]; then
	echo "$root"
	exit 0
fi
lock_cache
if [ -e "$root/etc/debian_version" ]; then
	echo "$root"
	exit 0
fi

command -v mmdebstrap >/dev/null || die "mmdebstrap is missing: see the first lines of the README"
check_userns
need_disk "$CACHE" 6000 "the Debian root with the kernel tree"

mirror=$(find_mirror)
say "making a Debian $SUITE root (2 GiB, 400 MiB to download) from ${mirror:-the default mirror}"

args=(--verbose --mode=root --variant=apt --components=main)
args+=(--include="$(echo $ROOT_PACKAGES | tr ' ' ,)")
# apt drops its rights to a user whose files a plain user could not delete.
args+=(--aptopt='APT::Sandbox::User "root"')
while IFS='=' read -r key value; do
	[ -z "$key" ] || args+=(--aptopt="$key \"$value\"")
done < <(host_apt_options)
for file in /usr/share/doc /usr/share/man /usr/share/locale /usr/share/info; do
	args+=(--dpkgopt="path-exclude=$file/*")
done
args+=(--customize-hook='mkdir -p "$1/repo" "$1/cache" "$1/kernel" "$1/host" "$1/etc/ssl/certs"; touch "$1/etc/resolv.conf" "$1/etc/hosts"')
# Without a mirror mmdebstrap knows the default one, and only for the suite
# itself; the backports line is then made from what it wrote.
if [ -n "$mirror" ]; then
	sources=("deb $mirror $SUITE main" "deb $mirror $SUITE-updates main" "deb $mirror $SUITE-backports main")
else
	sources=()
	args+=(--customize-hook='cd "$1/etc/apt" && sed -n "s/ '$SUITE' / '$SUITE'-backports /p" sources.list > sources.list.d/backports.list')
fi

tmp=$root.tmp
as_root rm -rf "$tmp"
with_progress "$CACHE/root.log" "$ROOT_LOG_LINES" as_root mmdebstrap "${args[@]}" "$SUITE" "$tmp" ${sources[@]+"${sources[@]}"}
mv -T "$tmp" "$root"
say "the root is at $root"
echo "$root"
