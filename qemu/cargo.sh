#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# cargo.sh host|guest|root [-c CRATE] ARGUMENT... - cargo on the repository, or
# on the crate in the directory CRATE.
#
#   host    for this machine: its own cargo if that is new enough, else the root's
#   guest   the same, with static programs for the test guest
#   root    always the root's: lints and formatting must judge alike everywhere
#
# CRATE is somebody's own: its warnings are no errors, and it sees all that lies around it.
#
# Each has a target directory of its own: they differ in flags or compiler.
. "$(dirname "$0")/lib.sh"
cd "$REPO"

kind=$1
shift
crate=
if [ "${1:-}" = -c ]; then
	crate=$2
	shift 2
fi

host_cargo() {
	[ -z "${ALPC_ROOT_CARGO:-}" ] && command -v cc >/dev/null || return 1
	local version
	version=$(cargo --version 2>/dev/null | cut -d' ' -f2) || return 1
	[ "$(printf '%s\n' 1.85 "$version" | sort -V | head -n 1)" = 1.85 ]
}

flags=-Dwarnings
[ -z "$crate" ] || flags=
case $kind in
guest)
	flags="$flags -C target-feature=+crt-static -C strip=debuginfo"
	dir=target/guest
	# An explicit target keeps build scripts and macros dynamic.
	export CARGO_BUILD_TARGET=x86_64-unknown-linux-gnu
	# Static programs take the C library of the root, where it surely is, if
	# this machine has none.
	host_cargo && [ -e "$(cc -print-file-name=libc.a)" ] || kind=root
	;;
host)
	dir=target
	host_cargo || { kind=root && dir=target/root; }
	;;
root) dir=target/root ;;
*) die "cargo.sh: host, guest or root?" ;;
esac
dir=${ALPC_TARGET_DIR:-$dir}
export RUSTFLAGS=$flags

if [ -n "$crate" ]; then
	export CARGO_TARGET_DIR=$REPO/$dir
	# As .cargo/config.toml has it here: the crate has its own.
	export CARGO_RESOLVER_INCOMPATIBLE_RUST_VERSIONS=fallback
	cd "$crate"
else
	export CARGO_TARGET_DIR=$dir
fi
if [ "$kind" != root ]; then
	exec cargo "$@"
fi
"$QEMU_DIR/root.sh" >/dev/null
mkdir -p "$CACHE/cargo"
vars=(-e "RUSTFLAGS=$RUSTFLAGS")
[ -z "${CARGO_BUILD_TARGET:-}" ] || vars+=(-e "CARGO_BUILD_TARGET=$CARGO_BUILD_TARGET")
if [ -n "$crate" ]; then
	# All three must be seen there.
	for place in "$crate" "$REPO" "$CACHE"; do
		check_place "$place"
	done
	EXEC=exec in_root -H -C "$crate" "${vars[@]}" -e "CARGO_TARGET_DIR=$CARGO_TARGET_DIR" \
		-e "CARGO_RESOLVER_INCOMPATIBLE_RUST_VERSIONS=fallback" cargo "$@"
fi
# Paths of this machine, as the root knows them.
args=()
for arg in "$@"; do
	args+=("${arg//"$REPO/"//repo/}")
done
EXEC=exec in_root "${vars[@]}" -e "CARGO_TARGET_DIR=/repo/$dir" cargo "${args[@]}"
