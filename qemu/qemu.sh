#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# qemu.sh ARGUMENT... - the root's QEMU with the prepared kernel's image. Paths
# in arguments are the root's: /repo for the repository.
. "$(dirname "$0")/lib.sh"

kdir=$("$QEMU_DIR/kdir.sh")
# The unpacked image starts faster.
image=vmlinux
[ -s "$kdir/$image" ] || image=vmlinuz
EXEC=exec in_root -b "$kdir:/kernel" qemu-system-x86_64 -kernel "/kernel/$image" "$@"
