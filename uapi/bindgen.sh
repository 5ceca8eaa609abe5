#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# Writes bindings.rs from alpc.h; with --check, fails when the committed file
# is not what bindgen makes of the header. Needs bindgen, rustfmt and libclang.
set -eu
cd "$(dirname "$0")"

generate() {
	printf '// SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT\n\n'
	bindgen bindgen.h --use-core --no-layout-tests --disable-header-comment \
		--allowlist-type 'alpc_.*' --allowlist-var 'ALPC_.*' \
		--no-prepend-enum-name --no-doc-comments \
		--with-derive-default --generate types,vars
}

case "${1:-}" in
--check)
	generate | cmp -s - bindings.rs || {
		echo "uapi/bindings.rs is stale: run uapi/bindgen.sh" >&2
		exit 1
	}
	;;
*)
	generate >bindings.rs.new
	mv bindings.rs.new bindings.rs
	;;
esac
