# SPDX-License-Identifier: MIT OR Apache-2.0
# shellcheck shell=bash
#
# What somebody brings along to run in the guest: a crate, or C programs. rig.sh sources it.

# place_of SETTING PATH - where that really is, which is what cargo goes by: seen from here, else from where make was called.
place_of() {
	local base
	for base in "$REPO" "${ALPC_CALLER:-$REPO}"; do
		case $2 in
		/*) base= ;;
		*) base=$base/ ;;
		esac
		[ ! -d "$base$2" ] || {
			(cd "$base$2" && pwd -P)
			return
		}
	done
	die "$1=$2: there is no such directory" "seen from $REPO"
}

# check_own - before anything is built for it.
check_own() {
	OWN_CRATE='' OWN_C=''
	[ -z "${CRATE:-}" ] || OWN_CRATE=$(place_of CRATE "$CRATE") || exit 1
	[ -z "${C:-}" ] || OWN_C=$(place_of C "$C") || exit 1
	[ -z "$OWN_CRATE" ] || [ -e "$OWN_CRATE/Cargo.toml" ] ||
		die "CRATE=$CRATE holds no Cargo.toml" "looked in $OWN_CRATE"
	[ -z "$OWN_C" ] || { check_place "$OWN_C" && check_place "$REPO"; }
	[ -z "$OWN_C" ] || [ -n "$(find "$OWN_C/" -maxdepth 1 -name '*.c' -print -quit)" ] ||
		die "C=$C holds no .c file" "looked in $OWN_C"
}

# build_own - all that was asked for; how the runner finds it is in OWN.
build_own() {
	OWN=()
	# Until this guest has ended nobody else's programs take the place of these.
	exec 6>target/own.lock
	flock -n 6 || {
		say "waiting for another make run or make shell here"
		flock 6
	}
	[ -z "$OWN_CRATE" ] || build_crate 6>&- || return 1
	[ -z "$OWN_C" ] || build_c 6>&- || return 1
}

# Whatever a crate asks for by the name of this repository's package is replaced by that.
build_crate() {
	local name path patch=() kind=() metadata=target/qemu/metadata.json log=target/qemu/metadata.log
	name=$(sed -n 's/^name = "\(.*\)"$/\1/p' userlib/Cargo.toml | head -n 1)
	# A string of TOML.
	path=${REPO//\\/\\\\}
	patch=(--config "patch.crates-io.$name.path=\"${path//\"/\\\"}/userlib\"")
	export ALPC_TARGET_DIR=target/run
	say "building $OWN_CRATE"
	# What cargo would take is looked at before it runs any of it.
	qemu/cargo.sh guest -c "$OWN_CRATE" metadata --format-version 1 \
		--filter-platform x86_64-unknown-linux-gnu "${patch[@]}" >"$metadata" 2>"$log" || {
		cat "$log" >&2
		return 1
	}
	"$BUILT/alpc-vm" crate "$metadata" "$REPO/userlib" || return 1
	# The crate may have patches of its own.
	! grep -q "Patch \`$name[ \`].*was not used in the crate graph" "$log" || patch=()
	[ ! -d "$OWN_CRATE/examples" ] || kind=(--examples)
	guest_build run -c "$OWN_CRATE" build ${patch[@]+"${patch[@]}"} --bins ${kind[@]+"${kind[@]}"} || return 1
	unset ALPC_TARGET_DIR
	OWN+=(--run target/qemu/run.json)
}

# Every file with a main() becomes a static program with all those that have none.
build_c() {
	local program out=target/run-c
	say "building the C programs in $OWN_C"
	remove "$out"
	mkdir -p "$out/bin"
	in_root -H -C "$OWN_C" "$REPO/qemu/c-inside.sh" "$REPO/uapi" "$REPO/$out" || return 1
	for program in "$out"/bin/*; do
		OWN+=(--program "$program")
	done
}

# Root's work in the crate of another user becomes that user's: cargo writes its lock there,
# or where the crate's workspace begins.
give_back_own() {
	local dir=${OWN_CRATE:-/}
	while [ "$dir" != / ]; do
		[ ! -e "$dir/Cargo.toml" ] || [ -z "$(find "$dir/Cargo.lock" -user 0 2>/dev/null)" ] ||
			chown -h --reference="$dir" "$dir/Cargo.lock" || true
		dir=$(dirname "$dir")
	done
}
