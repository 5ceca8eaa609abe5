#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Builds the debug kernel from the source of the stock one, and prints where it
# is: a directory like those of kdir.sh, of flavour `debug`.
. "$(dirname "$0")/lib.sh"

stock=$(FLAVOUR=cloud-amd64 "$QEMU_DIR/kdir.sh")
release=$(cat "$stock/release")
dir=$CACHE/debug-$({
	echo "$stock"
	cat "$QEMU_DIR/debug.config" "$QEMU_DIR/debug-inside.sh"
} | hash_of)
if [ ! -e "$dir/versions.txt" ]; then
	lock_cache
fi
if [ ! -e "$dir/versions.txt" ]; then
	need_disk "$CACHE" 2000 "the debug kernel"
	tmp=$CACHE/debug.tmp
	mkdir -p "$tmp"
	as_root cp -al "$stock/source" "$tmp/source"
	cp "$stock/versions.txt" "$tmp/stock.txt"
	say "building the debug kernel from the source of $release (some 12 minutes on 2 cores)"
	with_progress "$CACHE/debug.log" 2350 in_root -b "$tmp:/kernel" /repo/qemu/debug-inside.sh
	mv -T "$tmp" "$dir"
	say "the debug kernel is at $dir"
fi
echo "$dir"
