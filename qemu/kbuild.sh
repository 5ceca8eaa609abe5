#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# kbuild.sh [MAKE-ARGUMENT]... - builds alpc.ko for the prepared kernel, in the
# root, and prints where it is. Arguments go to Kbuild (W=e, CLIPPY=1, ...).
# OUT= names another place for the objects, below the repository; SYMVERS=
# other exports than the kernel's.
. "$(dirname "$0")/lib.sh"

kdir=$("$QEMU_DIR/kdir.sh")
out=${OUT:-target/kbuild/$FLAVOUR}
mkdir -p "$REPO/$out"
binds=(-b "$kdir:/kernel")
[ -z "${SYMVERS:-}" ] || binds+=(-b "$REPO/$SYMVERS:/kernel/build/Module.symvers")
# shellcheck disable=SC2046 # two words
in_root "${binds[@]}" make -C /kernel/build M=/repo "MO=/repo/$out" $(toolchain) \
	"-j$(nproc)" "$@" modules >&2
[ ! -e "$REPO/$out/alpc_mod/alpc.ko" ] || echo "$REPO/$out/alpc_mod/alpc.ko"
