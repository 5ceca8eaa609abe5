#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# c-inside.sh HEADERS OUT - the part of `make run C=dir` that runs in the root, in dir.
set -euo pipefail

headers=$1 out=$2
programs=() others=()
for source in *.c; do
	object=$out/${source%.c}.o
	gcc -O2 -g -Wall -Wextra "-I$headers" -c "$source" -o "$object"
	# Kept whole, since grep -q ends a pipe early and pipefail minds.
	symbols=$(nm --defined-only "$object")
	if grep -q ' T main$' <<<"$symbols"; then
		programs+=("$object")
	else
		others+=("$object")
	fi
done
[ "${#programs[@]}" != 0 ] || {
	echo "error: no .c file here has a main()" >&2
	exit 1
}
for object in "${programs[@]}"; do
	program=${object##*/}
	# Static, since the guest has no C library.
	gcc -static "$object" ${others[@]+"${others[@]}"} -lm -o "$out/bin/${program%.o}"
done
