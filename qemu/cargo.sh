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
# Each has a target directory of its own: they differ in flags or compiler.
. "$(dirname "$0")/lib.sh"
cd "$REPO"

kind=$1
shift
crate=
if [ "${1:-}" = -c ]; then
	crate=$2
	shift 2
	set -- "$@" --manifest-path "$crate/Cargo.toml"
fi

host_cargo() {
	[ -z "${ALPC_ROOT_CARGO:-}" ] && command -v cc >/dev/null || return 1
	local version
	version=$(cargo --version 2>/dev/null | cut -d' ' -f2) || return 1
	[ "$(printf '%s\n' 1.85 "$version" | sort -V | head -n 1)" = 1.85 ]
}

flags=-Dwarnings
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
export CARGO_TARGET_DIR=${ALPC_TARGET_DIR:-$dir} RUSTFLAGS=$flags

if [ "$kind" != root ]; then
	exec cargo "$@"
fi
"$QEMU_DIR/root.sh" >/dev/null
mkdir -p "$CACHE/cargo"
vars=(-e "RUSTFLAGS=$RUSTFLAGS" -e "CARGO_TARGET_DIR=/repo/$CARGO_TARGET_DIR")
[ -z "${CARGO_BUILD_TARGET:-}" ] || vars+=(-e "CARGO_BUILD_TARGET=$CARGO_BUILD_TARGET")
# Paths of this machine, as the root knows them.
[ -z "$crate" ] || vars+=(-b "$crate:/host")
args=()
for arg in "$@"; do
	[ -z "$crate" ] || arg=${arg/#"$crate/"//host/}
	args+=("${arg//"$REPO/"//repo/}")
done
EXEC=exec in_root "${vars[@]}" cargo "${args[@]}"
