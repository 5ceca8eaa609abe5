#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Prepares the tree against which alpc.ko builds for Debian's stock kernel of
# $KSERIES and $FLAVOUR (or for exactly $KRELEASE), and fetches that kernel's
# image. Prints where they are: a directory with source/, build/, vmlinuz,
# release and versions.txt. The tree is used at /kernel in the root.
. "$(dirname "$0")/lib.sh"

root=$("$QEMU_DIR/root.sh")
key=$({
	echo "$KSERIES $FLAVOUR ${KRELEASE:-}"
	root_key
	cat "$QEMU_DIR/kdir.sh" "$QEMU_DIR/kdir-inside.sh"
} | hash_of)
dir=$CACHE/kernel-$key

if [ ! -e "$dir/versions.txt" ]; then
	lock_cache
fi
if [ ! -e "$dir/versions.txt" ]; then
	need_disk "$CACHE" 3500 "the kernel tree"
	[ -n "$root" ] || die "there is no root"
	tmp=$dir.tmp
	as_root rm -rf "$tmp"
	mkdir -p "$tmp/apt"
	host_apt_options | sed 's/^\([^=]*\)=\(.*\)$/\1 "\2";/' >"$tmp/apt/host.conf"

	say "looking for Linux $KSERIES ($FLAVOUR) in $SUITE-backports"
	with_progress "$CACHE/kernel-list.log" 30 in_root -b "$tmp:/kernel" /repo/qemu/kdir-inside.sh list
	built=
	while read -r release version source; do
		case $release in
		"$KSERIES".*) ;;
		*) say "NOTE: no Linux $KSERIES.x for $FLAVOUR is left in $SUITE-backports; trying $release" ;;
		esac
		say "fetching linux $version: source, headers, image (170 MiB)"
		with_progress "$CACHE/kernel-fetch.log" 20 in_root -b "$tmp:/kernel" \
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
	as_root rm -rf "$tmp/apt" "$tmp/debs" "$tmp/unpacked" "$tmp/candidates"
	as_root rm -rf "$dir"
	mv -T "$tmp" "$dir"
	say "the tree of $built is at $dir"
fi
echo "$dir"
