#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The part of debug.sh that runs in the root, with the new tree at /kernel.
set -euo pipefail
cd /kernel
mkdir -p build
make=(make -C source O=/kernel/build LLVM=1 LOCALVERSION=-alpc-debug "-j$(nproc)")

"${make[@]}" KCONFIG_ALLCONFIG=/repo/qemu/debug.config allnoconfig
# Kconfig drops what it can't have without a word.
lost=$(grep '^CONFIG_' /repo/qemu/debug.config | grep -vxFf build/.config || true)
if [ -n "$lost" ]; then
	echo "this source has not got:" $lost
	exit 1
fi
"${make[@]}" vmlinux modules
cp build/vmlinux vmlinux
cp build/include/config/kernel.release release
# Modules need the headers, the tools and the Rust metadata only.
find build \( -name '*.o' -o -name '*.a' -o -name 'vmlinux*' ! -name '*.h' ! -name '*.lds' \) -type f -delete
{
	echo "kernel $(cat release)"
	sed -n '/^linux /p' stock.txt
	dpkg-query -W -f '${Package} ${Version}\n' clang rustc bindgen pahole qemu-system-x86
} >versions.txt
