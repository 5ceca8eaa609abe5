#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# modules.sh modules|install - alpc.ko for the kernel that this machine runs,
# or for the tree in KDIR. A kernel that can't have it is told in one line.
. "$(dirname "$0")/lib.sh"
cd "$REPO"

release=${KRELEASE:-$(uname -r)}
kdir=${KDIR:-/lib/modules/$release/build}
if [ -n "${KDIR:-}" ]; then
	case $kdir in
	/*) ;;
	*) [ -d "$kdir" ] || kdir=${ALPC_CALLER:-$REPO}/$kdir ;;
	esac
	[ -d "$kdir" ] || die "KDIR=$KDIR: there is no such directory"
	[ -e "$kdir/.config" ] || die "KDIR=$KDIR: no kernel's tree, or not configured: it has no .config"
	# What that tree is of, not what runs here.
	release=$(cat "$kdir/include/config/kernel.release" 2>/dev/null) || release="the tree in $KDIR"
fi

# A kernel's configuration, from wherever it can be had.
kernel_config() {
	if [ -e "$kdir/.config" ]; then
		cat "$kdir/.config"
	elif [ -e "/boot/config-$release" ]; then
		cat "/boot/config-$release"
	elif [ -e /proc/config.gz ] && [ "$release" = "$(uname -r)" ]; then
		gzip -dc /proc/config.gz
	fi
}

# Whether a kernel refuses unsigned modules, and which rule says so.
warn_of_refusal() {
	[ "$release" = "$(uname -r)" ] || return 0
	local secure_boot=no file
	for file in /sys/firmware/efi/efivars/SecureBoot-*; do
		[ ! -r "$file" ] || [ "$(od -An -tu1 -j4 -N1 "$file" | tr -d ' ')" != 1 ] || secure_boot=yes
	done
	if grep -qE '\[(integrity|confidentiality)\]' /sys/kernel/security/lockdown 2>/dev/null; then
		if [ $secure_boot = yes ]; then
			say "NOTE: Secure Boot has locked this kernel down: it will refuse alpc.ko until you sign it with a key the kernel trusts"
		else
			say "NOTE: this kernel is locked down (/sys/kernel/security/lockdown): it will refuse alpc.ko, which is unsigned"
		fi
	elif [ "$(cat /sys/module/module/parameters/sig_enforce 2>/dev/null)" = Y ]; then
		say "NOTE: this kernel takes signed modules only (module.sig_enforce): it will refuse alpc.ko"
	fi
}

build() {
	local config have want
	# Kept whole, since grep -q ends a pipe early and pipefail minds.
	config=$(kernel_config)
	if [ -n "$config" ]; then
		grep -qx 'CONFIG_RUST=y' <<<"$config" ||
			die "$release is built without CONFIG_RUST" \
				"alpc.ko needs Debian's 7.3 from backports, or a kernel with Rust"
	fi
	if compgen -G "$kdir/rust/*.rmeta" >/dev/null; then
		want=$(sed -n 's/^CONFIG_RUSTC_VERSION_TEXT="\(.*\)"$/\1/p' <<<"$config")
		have=$(rustc --version 2>/dev/null) || have=none
		[ "$have" = "$want" ] ||
			die "$release was built by another rustc than is here" "by $want; here is $have"
		say "building alpc.ko for $kdir"
		make -C "$kdir" "M=$REPO" "MO=$REPO/target/kbuild/local" modules
		cp target/kbuild/local/alpc_mod/alpc.ko alpc.ko
		return
	fi
	[ -z "${KDIR:-}" ] || die "$kdir has no rust/*.rmeta: that tree isn't prepared for Rust modules"
	case $release in
	*+deb[0-9]*-amd64) ;;
	*) die "$release isn't Debian's 7.3 from backports, nor has it a tree for Rust modules" \
		"KDIR= names such a tree" ;;
	esac
	# Debian's headers can't build Rust modules; its sources can.
	KRELEASE=$release
	FLAVOUR=$(sed 's/^[^-]*-//' <<<"$release")
	KSERIES=$(cut -d. -f1,2 <<<"$release")
	export KRELEASE FLAVOUR KSERIES
	say "building alpc.ko for $release"
	local ko
	ko=$(OUT=target/kbuild/$release "$QEMU_DIR/kbuild.sh")
	cp "$ko" alpc.ko
}

# Root's work in another user's tree becomes that user's, also what a failure leaves.
give_back() {
	[ "$(id -u)" != 0 ] || find target alpc.ko -user 0 -exec chown -h --reference=. {} + 2>/dev/null || true
}

case $1 in
modules)
	trap give_back EXIT
	mkdir -p target 2>/dev/null || die "no right, or no disk, to write to $REPO/target"
	build
	say "alpc.ko is ready: insmod alpc.ko"
	warn_of_refusal
	;;
install)
	[ -e alpc.ko ] || die "there is no alpc.ko yet: make modules"
	command -v modinfo >/dev/null && command -v depmod >/dev/null || die "modinfo or depmod is missing: install kmod"
	release=$(modinfo -F vermagic alpc.ko | cut -d' ' -f1)
	case ${DESTDIR:-/} in
	/*) ;;
	*) DESTDIR=${ALPC_CALLER:-$REPO}/$DESTDIR ;;
	esac
	to=${DESTDIR:-}/lib/modules/$release
	# A package is put together in a tree that has no kernel.
	[ -z "${DESTDIR:-}" ] || mkdir -p "$to" 2>/dev/null || die "no right, or no disk, to make $to"
	[ -d "$to" ] || die "alpc.ko is for $release, which is not installed here ($to)"
	[ -w "$to" ] || die "$to belongs to root: make install as root"
	install -D -m 0644 alpc.ko "$to/updates/alpc.ko"
	[ -n "${DESTDIR:-}" ] && [ ! -e "$to/modules.order" ] || depmod -b "${DESTDIR:-/}" "$release"
	say "installed: modprobe alpc"
	warn_of_refusal
	;;
*) die "modules.sh: modules or install?" ;;
esac
