#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Prepares the tree against which alpc.ko builds for Debian's stock kernel of
# $KSERIES and $FLAVOUR (or for exactly $KRELEASE), and fetches that kernel's
# image. Prints where they are: a directory with source/, build/, vmlinuz,
# release and versions.txt. The tree is used at /kernel in the root.
. "$(dirname "$0")/lib.sh"

[ "$FLAVOUR" != debug ] || exec "$QEMU_DIR/debug.sh"
root=$("$QEMU_DIR/root.sh")
# What a tree is made from, beside the kernel's release.
recipe() {
	root_key
	cat "$QEMU_DIR/kdir-inside.sh"
}
wish=$CACHE/release-$({
	echo "$KSERIES $FLAVOUR"
	recipe
} | hash_of)
dir_of() {
	echo "$CACHE/kernel-$({
		echo "$1"
		recipe
	} | hash_of)"
}

# The tree wanted, if it is there. Which release a series stands for is settled
# once: the archive moves on, and a tree must not change under its user.
find_tree() {
	local release=${KRELEASE:-}
	[ -n "$release" ] || [ ! -e "$wish" ] || release=$(cat "$wish")
	[ -n "$release" ] || return 1
	dir=$(dir_of "$release")
	[ -e "$dir/versions.txt" ]
}

if ! find_tree; then
	lock_cache
fi
if ! find_tree; then
	need_disk "$CACHE" 3500 "the kernel tree"
	[ -n "$root" ] || die "there is no root"
	tmp=$CACHE/kernel.tmp
	mkdir -p "$tmp/apt"
	{
		# A list that can't be had is an error, not a kernel that isn't there.
		echo 'APT::Update::Error-Mode "any";'
		host_apt_options | sed 's/^\([^=]*\)=\(.*\)$/\1 "\2";/'
		if [ -n "${MIRROR:-}" ]; then
			echo "deb $MIRROR $SUITE-backports main" >"$tmp/apt/sources.list"
			echo 'Dir::Etc::SourceList "/kernel/apt/sources.list"; Dir::Etc::SourceParts "/dev/null";'
		fi
	} >"$tmp/apt/host.conf"

	say "looking for Linux $KSERIES ($FLAVOUR) in $SUITE-backports"
	with_progress "$CACHE/kernel-list.log" 18 in_root -b "$tmp:/kernel" /repo/qemu/kdir-inside.sh list
	built=
	while read -r release version source; do
		case $release in
		"$KSERIES".*) ;;
		*) say "NOTE: no Linux $KSERIES.x for $FLAVOUR is left in $SUITE-backports; trying $release" ;;
		esac
		dir=$(dir_of "$release")
		if [ -e "$dir/versions.txt" ]; then
			built=$release
			break
		fi
		say "fetching linux $version: source, headers, image (170 MiB)"
		with_progress "$CACHE/kernel-fetch.log" 7 in_root -b "$tmp:/kernel" \
			/repo/qemu/kdir-inside.sh fetch "$release" "$version" "$source"
		say "preparing the tree of $release (some 2 minutes on 2 cores)"
		rc=0
		(with_progress "$CACHE/kernel-$release.log" 230 in_root -b "$tmp:/kernel" \
			/repo/qemu/kdir-inside.sh prepare "$release" "$version") || rc=$?
		[ "$rc" != 0 ] || { built=$release && break; }
		# Where this machine is the cause, another kernel fares no better.
		! cause_of "$CACHE/kernel-$release.log" "$rc" >/dev/null || exit "$rc"
		say "NOTE: $release does not build here"
	done <"$tmp/candidates"
	# The archive keeps the newest only.
	[ -n "$built$(cat "$tmp/candidates")" ] || [ -z "${KRELEASE:-}" ] ||
		die "$SUITE-backports has no kernel $KRELEASE (any more)" \
			"upgrade to the one that it has, and boot that"
	[ -n "$built" ] || die "$SUITE-backports has no kernel of flavour $FLAVOUR that builds a Rust module"
	if [ -e "$tmp/versions.txt" ]; then
		remove "$tmp/apt" "$tmp/debs" "$tmp/unpacked" "$tmp/candidates" "$dir"
		mv -T "$tmp" "$dir"
	fi
	remove "$tmp"
	[ -n "${KRELEASE:-}" ] || echo "$built" >"$wish"
	say "the tree of $built is at $dir"
fi
echo "$dir"
