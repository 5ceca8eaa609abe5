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
	as_root rm -rf "$tmp"
	mkdir -p "$tmp/apt"
	host_apt_options | sed 's/^\([^=]*\)=\(.*\)$/\1 "\2";/' >"$tmp/apt/host.conf"

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
		if (with_progress "$CACHE/kernel-$release.log" 230 in_root -b "$tmp:/kernel" \
			/repo/qemu/kdir-inside.sh prepare "$release" "$version"); then
			built=$release
			break
		fi
		say "NOTE: $release does not build here"
	done <"$tmp/candidates"
	[ -n "$built" ] || die "$SUITE-backports has no kernel of flavour $FLAVOUR that a Rust module can be built for"
	if [ -e "$tmp/versions.txt" ]; then
		as_root rm -rf "$tmp/apt" "$tmp/debs" "$tmp/unpacked" "$tmp/candidates" "$dir"
		mv -T "$tmp" "$dir"
	fi
	as_root rm -rf "$tmp"
	[ -n "${KRELEASE:-}" ] || echo "$built" >"$wish"
	say "the tree of $built is at $dir"
fi
echo "$dir"
