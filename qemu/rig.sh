#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# rig.sh TARGET - what the Makefile's targets do. Settings come from the
# environment: see `make help`.

# The cloud kernel lacks a part of what the benchmark compares with.
[ "${1:-}" != bench ] || export FLAVOUR=${FLAVOUR:-amd64}
. "$(dirname "$0")/lib.sh"
. "$QEMU_DIR/own.sh"
cd "$REPO"

# What can be known to be wrong is told before anything is built.
check_settings() {
	local name word
	for name in CPUS BOOT_TIMEOUT; do
		[[ -z "${!name:-}" || "${!name}" =~ ^[1-9][0-9]{0,8}$ ]] || die "$name=${!name}: want a number, from 1"
	done
	case ${ALPC_ACCEL:-auto} in
	auto | tcg) ;;
	kvm)
		[ -e /dev/kvm ] || die "ALPC_ACCEL=kvm: this machine has no /dev/kvm"
		(: <>/dev/kvm) 2>/dev/null ||
			die "ALPC_ACCEL=kvm: no right to use /dev/kvm: join the group $(stat -c %G /dev/kvm)"
		;;
	*) die "ALPC_ACCEL=$ALPC_ACCEL: want kvm, tcg or auto" ;;
	esac
	# A path is no list: in a user's environment it is the file that a shell reads.
	case ${ENV:-} in
	/*) ENV= ;;
	esac
	for word in ${ENV:-}; do
		[[ "$word" =~ ^[A-Za-z_][A-Za-z0-9_]*= ]] || die "ENV: $word: want NAME=VALUE"
		[[ "$word" != ALPC_TEST_TIMEOUT=* || "$word" =~ =[1-9][0-9]{0,8}$ ]] ||
			die "ENV: $word: want a number, from 1"
	done
}
check_settings

[ ! -L target ] || die "target/ is a link, and what it names can't be seen from the root"
mkdir -p target/qemu 2>/dev/null || die "no right, or no disk, to write to $REPO/target"

PASSED=0 FAILED=0
# What went wrong is told once more at the end, where it can be found.
PROBLEMS=target/qemu/problems
case ${1:-} in
check | test* | vm-test)
	{ : >"$PROBLEMS"; } 2>/dev/null || die "no right to write to $REPO/target"
	;;
esac

# On the debug kernel everything takes some twenty times as long: fewer rounds,
# and lower limits per user to reach.
DEBUG=(--debug --env ALPC_ROUNDS=0.02 --env ALPC_WATCHDOG=300 --env ALPC_TEST_TIMEOUT=1500 --timeout 3600 --parameter ports_per_user=1024
	--parameter connections_per_user=2048 --parameter conversations_per_user=2048)
# What the inner loop and further tiers of the stock kernel do without: most rounds
# of the long tests.
SHORT=(--env ALPC_ROUNDS=0.1)
TESTS=(--tests target/qemu/tests.json --bins target/qemu/tests.json)

# Tests of how long a call may take. They have a guest whose time is a count of
# instructions, where there is no KVM: by the clock a busy host would fail them.
TIMED=(--counted --cpus 2 --env ALPC_TEST_TIMEOUT=1700 --binary strangers --binary strangers_waiters)
UNTIMED=(--skip strangers --skip strangers_waiters)

# Tests of what a security module is asked: their guest has SELinux and a policy.
MAC=(--cpus 2 --policy target/qemu/alpc.policy --binary mac)

# Root's work in another user's tree becomes that user's.
give_back() {
	local owner
	owner=$(stat -c %u:%g .)
	if [ "$(id -u)" = 0 ] && [ "${owner%%:*}" != 0 ]; then
		find target alpc.ko rust-project.json Cargo.lock tests/benches/README.md uapi tests/bench-baseline.json -user 0 -exec chown -h "$owner" {} + 2>/dev/null || true
	fi
	[ "$(id -u)" != 0 ] || give_back_own
}
trap give_back EXIT

# ------------------------------------------------------------------- building

prepare() {
	local kdir
	kdir=$("$QEMU_DIR/kdir.sh")
	# Each flavour has a tree of its own.
	if ! grep -qxF "$(head -n 1 "$kdir/versions.txt")" target/qemu/versions.txt 2>/dev/null ||
		[ "$kdir/versions.txt" -nt target/qemu/versions.txt ]; then
		{
			cat "$kdir/versions.txt"
			qemu/cargo.sh host --version
		} >target/qemu/versions.txt
	fi
}

# Runs CMD quietly into a log below target/qemu; shows the log if it fails.
quietly() {
	local log=target/qemu/$1.log
	shift
	"$@" >"$log" 2>&1 || {
		cat "$log" >&2
		return 1
	}
}

# build_driver NAME OPTION DIRECTORY - the kernel's own NAME.ko, where OPTION of its
# configuration makes that a module: Debian ships modules in a package of 100 MiB. The
# same source, configuration and compiler make the same code. Its file is in DRIVER.
build_driver() {
	DRIVER=
	local kdir out=target/kbuild/$FLAVOUR-$1 file=target/qemu/$1-$FLAVOUR.ko
	kdir=$("$QEMU_DIR/kdir.sh") || return 1
	grep -qx "$2=m" "$kdir/build/.config" || {
		say "NOTE: the kernel of $FLAVOUR has no module $1"
		return 0
	}
	if [ ! "$file" -nt "$kdir/versions.txt" ]; then
		say "building the kernel's $1"
		mkdir -p "$out"
		quietly "kbuild-$FLAVOUR-$1" in_root -b "$kdir:/kernel" make -C /kernel/build \
			"M=/kernel/source/$3" "MO=/repo/$out" CC=gcc-14 HOSTCC=gcc-14 "-j$(nproc)" "$1.ko" &&
			in_root strip -g -o "/repo/$file.$$" "/repo/$out/$1.ko" && mv "$file.$$" "$file" || return 1
	fi
	DRIVER=$file
}

# The policy of the tests of what a security module is asked.
build_policy() {
	mkdir -p target/qemu
	in_root secilc -M false -c 33 -f /dev/null -o /repo/target/qemu/alpc.policy /repo/tests/policy/alpc.cil
}

# The module that the benchmark holds a call against.
build_floor() {
	local kdir out=target/kbuild/$FLAVOUR-floor
	kdir=$("$QEMU_DIR/kdir.sh")
	FLOOR=target/qemu/floor-$FLAVOUR.ko
	say "building the benchmark's module"
	mkdir -p "$out"
	# shellcheck disable=SC2046 # two words
	quietly "kbuild-$FLAVOUR-floor" in_root -b "$kdir:/kernel" make -C /kernel/build \
		M=/repo/tests/floor "MO=/repo/$out" $(toolchain) W=e modules
	in_root strip -g -o "/repo/$FLOOR" "/repo/$out/alpc_floor.ko"
}

# What counts in QEMU, and writes down a call for the table of its phases.
build_plugin() {
	PLUGIN=target/qemu/plugin.so
	in_root gcc -std=c11 -O2 -Wall -Wextra -Wno-unused-parameter -Werror -shared -fPIC \
		-fvisibility=hidden -o "/repo/$PLUGIN" /repo/qemu/plugin.c
}

# These return their failure themselves: `set -e` is off where a result counts.
build_module() {
	say "building alpc.ko for $FLAVOUR"
	(
		flock 8
		quietly "kbuild-$FLAVOUR" "$QEMU_DIR/kbuild.sh"
	) 8>"target/kbuild-$FLAVOUR.lock" || return 1
	MODULE=target/qemu/alpc-$FLAVOUR.ko
	# The debug information is most of the file, and of no use in a guest.
	in_root strip -g -o "/repo/$MODULE.$$" "/repo/target/kbuild/$FLAVOUR/alpc_mod/alpc.ko" &&
		mv "$MODULE.$$" "$MODULE"
}

# guest_build NAME ARGUMENT... - cargo for the guest, its messages in NAME.json
guest_build() {
	local messages=target/qemu/$1.json
	shift
	qemu/cargo.sh guest "$@" --message-format=json-render-diagnostics >"$messages.$$" &&
		mv "$messages.$$" "$messages"
}

build_guest() {
	say "building the guest's programs"
	# The runner is static as well: the root's cargo makes programs that need
	# a newer C library than this machine may have.
	qemu/cargo.sh guest build -q -p alpc-vm-init -p alpc-vm || return 1
	if [ -d userlib/examples ]; then
		guest_build examples build -p alpc-linux --examples || return 1
	fi
	case $1 in
	tests) guest_build tests test -p alpc-tests --no-run ;;
	demo) guest_build tools build -p alpc-tests --bin alpc-demo ;;
	bench)
		guest_build tools build --release -p alpc-tests --bin alpc-bench &&
			guest_build clock build --release -p alpc-tests --bench clock --features criterion
		;;
	esac
}

# Where the runner and the guest's first process are, once they are built.
BUILT=target/guest/x86_64-unknown-linux-gnu/debug

# vm NAME MODE ARGUMENT... - one boot
vm() {
	local name=$1 mode=$2 root word
	shift 2
	local args=(--init "$BUILT/alpc-vm-init")
	[ "$FLAVOUR" != debug ] || args+=("${DEBUG[@]}")
	root=$(root_dir)
	for word in ${ENV:-}; do
		args+=(--env "$word")
	done
	[ -z "${BOOT_TIMEOUT:-}" ] || args+=(--timeout "$BOOT_TIMEOUT")
	# One guest at a time: two would take each other's processor, and time out.
	exec 7>target/qemu.lock
	flock -n 7 || {
		say "waiting for another guest"
		flock 7
	}
	ALPC_ACCEL_CACHE=$CACHE "$BUILT/alpc-vm" boot --name "$name" --mode "$mode" "${args[@]}" \
		--module "$MODULE" --busybox "$root/usr/bin/busybox" --env "ALPC_TIER=$name" "$@" 7>&-
	local rc=$?
	exec 7>&-
	return $rc
}

# tier NAME ARGUMENT... - a boot with all tests; its counts join the total
tier() {
	local name=$1 passed failed seconds ok=0
	shift
	say "tier $name"
	# What tests send, and the kernel's image lacks.
	build_driver ntsync CONFIG_NTSYNC drivers/misc || ok=1
	vm "$name" test ${DRIVER:+--driver "$DRIVER"} "$@" || ok=1
	if [ -e "target/qemu/$name/result" ]; then
		read -r passed failed seconds <"target/qemu/$name/result"
		PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed))
		say "tier $name: $passed passed, $failed failed in $seconds s"
	else
		FAILED=$((FAILED + 1))
		say "tier $name: did not start"
		echo "$name: did not start" >>"$PROBLEMS"
	fi
	[ $ok = 0 ] || [ "$FAILED" != 0 ] || FAILED=1
	cat "target/qemu/$name/problems" >>"$PROBLEMS" 2>/dev/null || true
}

# tier_on FLAVOUR NAME ARGUMENT... - the same on a kernel of another flavour
tier_on() {
	local before=$FLAVOUR
	FLAVOUR=$1
	shift
	if build_module; then
		tier "$@" "${TESTS[@]}"
	else
		FAILED=$((FAILED + 1))
	fi
	FLAVOUR=$before
}

tier_debug() { tier_on debug debug --cpus 2; }

# gates [NAME]... - a failed gate counts like a failed test
gates() {
	local bad=0
	"$QEMU_DIR/gates.sh" "$@" || bad=$?
	FAILED=$((FAILED + bad))
	[ "$bad" = 0 ] || echo "gates: $bad failed" >>"$PROBLEMS"
}

host_tests() {
	local start log=target/qemu/host.log rc=0 passed failed
	start=$(date +%s)
	say "tier host"
	qemu/cargo.sh host test --workspace --exclude alpc-tests --exclude alpc-vm-init --features alpc-linux/serde --no-fail-fast 2>&1 | tee "$log" || rc=1
	read -r passed failed < <(awk '/^test result: / { p += $4; f += $6 } END { print p + 0, f + 0 }' "$log")
	[ "$rc" = 0 ] || [ "$failed" != 0 ] || failed=1
	PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed))
	grep -E '^test .* FAILED$|panicked at' "$log" | sed 's/^/host: /' >>"$PROBLEMS" || true
	say "tier host: $passed passed, $failed failed in $(($(date +%s) - start)) s"
}

verdict() {
	cat "$PROBLEMS"
	echo "$PASSED passed, $FAILED failed"
	[ "$FAILED" = 0 ]
}

# -------------------------------------------------------------------- targets

target_kernel() {
	prepare
	cat target/qemu/versions.txt
}

target_demo() {
	prepare
	build_module
	build_guest demo
	say "booting the guest"
	vm demo demo --cpus 2 --bins target/qemu/tools.json --bins target/qemu/examples.json
}

target_check() {
	prepare
	gates spdx unsafe fmt
	host_tests
	if build_module && build_guest tests; then
		tier vm-check --cpus 2 "${SHORT[@]}" "${TESTS[@]}"
	else
		FAILED=$((FAILED + 1))
	fi
	verdict
}

target_test() {
	prepare
	gates
	host_tests
	if build_module && build_guest tests; then
		tier vm-2 --cpus 2 "${UNTIMED[@]}" "${TESTS[@]}"
		tier strangers "${TIMED[@]}" "${SHORT[@]}" "${TESTS[@]}"
		tier_mac
		tier vm-1 --cpus 1 "${UNTIMED[@]}" "${SHORT[@]}" "${TESTS[@]}"
		tier hardened --cpus 2 --hardened "${UNTIMED[@]}" "${TESTS[@]}"
		tier strangers-hardened --hardened "${TIMED[@]}" "${SHORT[@]}" "${TESTS[@]}"
		portable
		tier_on amd64 amd64 --cpus 2 "${SHORT[@]}"
		tier_debug
	else
		FAILED=$((FAILED + 1))
	fi
	cat target/qemu/versions.txt
	verdict
}

tier_mac() {
	if build_policy; then
		tier mac "${MAC[@]}" "${TESTS[@]}"
	else
		FAILED=$((FAILED + 1))
	fi
}

# A build that knows no export of Debian's own must load as well.
portable() {
	local kdir names
	say "tier portable"
	kdir=$("$QEMU_DIR/kdir.sh")
	names=$(sed -e 's/#.*//' -e '/^[[:space:]]*$/d' qemu/debian-exports | paste -sd'|')
	grep -vP "^[^\t]*\t($names)\t" "$kdir/build/Module.symvers" >target/qemu/portable.symvers
	if SYMVERS=target/qemu/portable.symvers OUT=target/kbuild/$FLAVOUR-portable \
		quietly kbuild-portable "$QEMU_DIR/kbuild.sh" &&
		in_root strip -g -o /repo/target/qemu/portable.ko "/repo/target/kbuild/$FLAVOUR-portable/alpc_mod/alpc.ko" &&
		MODULE=target/qemu/portable.ko vm portable probe; then
		PASSED=$((PASSED + 1))
	else
		FAILED=$((FAILED + 1))
	fi
}

target_test_debug() {
	prepare
	if build_guest tests; then
		tier_debug
	else
		FAILED=$((FAILED + 1))
	fi
	verdict
}

target_vm_test() {
	prepare
	build_module
	build_guest tests
	local args=(--cpus "${CPUS:-2}" "${TESTS[@]}")
	[ -z "${HARDENED:-}" ] || args+=(--hardened)
	case ${T:-} in
	'') ;;
	mac)
		build_policy
		args+=("${MAC[@]}")
		;;
	*) args+=(--only "$T") ;;
	esac
	tier vm-test "${args[@]}"
	verdict
}

target_test_strangers() {
	prepare
	build_module
	build_guest tests
	local args=("${TIMED[@]}" "${TESTS[@]}")
	[ -z "${T:-}" ] || args+=(--only "$T")
	[ -z "${HARDENED:-}" ] || args+=(--hardened)
	tier strangers "${args[@]}"
	verdict
}

target_bench() {
	prepare
	build_module
	local args=(--bins target/qemu/tools.json)
	case ${BASELINE:-} in
	'') ;;
	record) args+=(--record) ;;
	*) die "BASELINE=$BASELINE: only \`record' is known" ;;
	esac
	build_driver binder_linux CONFIG_ANDROID_BINDER_IPC drivers/android
	build_plugin
	build_floor
	args+=(--driver "$FLOOR" ${DRIVER:+--driver "$DRIVER"})
	build_guest bench
	say "booting the guest, counting instructions"
	local rc=0
	vm bench bench --icount --cpus 2 --plugin "$PLUGIN" "${args[@]}" || rc=1
	say "booting the guest, against the clock"
	vm clock clock --cpus "${CPUS:-1}" --tests target/qemu/clock.json || rc=1
	return $rc
}

# The tables of documents, from the baseline as it is.
target_bench_tables() {
	qemu/cargo.sh host run -q -p alpc-vm -- tables
}

target_shell() {
	check_own
	[ ! /dev/stdin -ef /dev/null ] || die "make shell needs somebody who types: see make run"
	prepare
	build_module
	build_guest none
	build_own
	say "booting the guest; the kernel's log goes to target/qemu/shell/kernel.log"
	vm shell shell --interactive --cpus "${CPUS:-2}" --bins target/qemu/examples.json ${OWN[@]+"${OWN[@]}"}
}

# Anybody's programs. `alpc` from a registry is replaced by the one here.
target_run() {
	[ -n "${CRATE:-}${C:-}" ] || die "make run CRATE=dir for a crate, make run C=dir for C programs"
	check_own
	prepare
	build_module
	build_guest none
	build_own
	local args=()
	[ -z "${RUN:-}" ] || args+=(--cmd "$RUN")
	[ ! -t 0 ] || [ ! -t 1 ] || args+=(--interactive)
	say "booting the guest"
	vm run run --cpus "${CPUS:-2}" --bins target/qemu/examples.json "${OWN[@]}" ${args[@]+"${args[@]}"}
}

target_fmt() {
	prepare
	files '*.rs' | grep -v '^uapi/bindings.rs$' |
		xargs -d '\n' qemu/in-root.sh rustfmt --config-path /repo/rustfmt.toml
}

target_clippy() {
	prepare
	"$QEMU_DIR/gates.sh" clippy kernel-clippy
}

target_doc() {
	qemu/cargo.sh host doc -q --no-deps -p alpc-linux
	# The root's cargo has a directory of its own.
	say "open $(ls -t target/doc/alpc/index.html target/root/doc/alpc/index.html 2>/dev/null | head -n 1)"
}

# The generator speaks of the root's paths; an editor wants this machine's.
target_rust_analyzer() {
	prepare
	local kdir root
	kdir=$("$QEMU_DIR/kdir.sh")
	root=$(root_dir)
	# shellcheck disable=SC2046 # two words
	in_root -b "$kdir:/kernel" make -s -C /kernel/build M=/repo $(toolchain) rust-analyzer
	sed -i -e "s#\"/repo#\"$REPO#g" -e "s#\"/kernel#\"$kdir#g" -e "s#\"/usr/#\"$root/usr/#g" rust-project.json
	say "rust-project.json is written"
}

# A guest's logs are in target/, and its programs.
no_guest() {
	[ -e target/qemu.lock ] || return 0
	exec 7<target/qemu.lock
	flock -n 7 || die "a guest runs from here: nothing is removed"
}

target_distclean() {
	no_guest
	clear_cache
	target_clean
}

target_clean() {
	no_guest
	say "removing target/"
	remove "$REPO/target" "$REPO/alpc.ko" "$REPO/rust-project.json"
}

"target_${1//-/_}"
