#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# in-root.sh CMD... - runs CMD in the Debian root, in the repository (/repo).
. "$(dirname "$0")/lib.sh"
"$QEMU_DIR/root.sh" >/dev/null
EXEC=exec in_root "$@"
