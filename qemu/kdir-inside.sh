#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The part of kdir.sh that runs in the root, with the new tree at /kernel.
#
#   list                             candidates, best first, to /kernel/candidates
#   fetch RELEASE VERSION SOURCE     downloads and unpacks the packages
#   prepare RELEASE VERSION          makes source/ and build/ fit for modules
set -euo pipefail
cd /kernel

# The root is read-only: apt's lists and archives live beside the tree.
apt_in_tree() {
	local tool=$1
	shift
	mkdir -p apt/lists/partial apt/archives/partial
	APT_CONFIG=/kernel/apt/host.conf "$tool" -o Dir::State::Lists=/kernel/apt/lists \
		-o Dir::Cache=/kernel/apt -o APT::Sandbox::User=root "$@"
}

# "RELEASE VERSION SOURCE-PACKAGE" of every kernel of the flavour whose source
# is there in the same version, newest first, $KSERIES before all others.
list() {
	local release version series
	apt_in_tree apt-get update
	apt_in_tree apt-cache pkgnames linux-headers- >apt/names
	{ grep -xE "linux-headers-[0-9][^-]*(-[0-9][^-]*)?-$FLAVOUR" apt/names || true; } |
		sed 's/^linux-headers-//' | sort -rV >apt/releases
	while read -r release; do
		[ -z "$KRELEASE" ] || [ "$release" = "$KRELEASE" ] || continue
		series=$(printf '%s' "$release" | grep -oE '^[0-9]+\.[0-9]+')
		version=$(apt_in_tree apt-cache show "linux-headers-$release" | sed -n 's/^Version: //p' | sort -rV | head -n 1)
		apt_in_tree apt-cache madison "linux-source-$series" |
			awk -F'|' -v v="$version" '{ gsub(/ /, "") } $2 == v { found = 1 } END { exit !found }' || continue
		echo "$release $version linux-source-$series"
	done <apt/releases >apt/found
	{
		grep "^$KSERIES\." apt/found || true
		grep -v "^$KSERIES\." apt/found || true
	} >candidates
	cat candidates
}

fetch() {
	local release=$1 version=$2 source=$3 deb
	rm -rf debs unpacked source build vmlinuz
	mkdir -p debs unpacked
	# The image without its modules is a package of its own since 7.x.
	local image=linux-binary-$release
	grep -q . <(apt_in_tree apt-cache madison "$image") || image=linux-image-$release
	(cd debs && apt_in_tree apt-get download "$source=$version" "linux-headers-$release=$version" "$image")
	for deb in debs/*.deb; do
		dpkg-deb -x "$deb" unpacked
	done
	mkdir source
	tar -xf "unpacked/usr/src/$source.tar.xz" -C source --strip-components=1
	find unpacked -name vmlinuz -o -name "vmlinuz-$release" | head -n 1 | xargs -I{} cp {} vmlinuz
	[ -s vmlinuz ]
	# QEMU starts the ELF image directly, which spares the guest the unpacking.
	bash source/scripts/extract-vmlinux vmlinuz >vmlinux || rm -f vmlinux
}

prepare() {
	local release=$1 version=$2 headers kernelversion
	headers=unpacked/usr/src/linux-headers-$release
	mkdir -p build
	# Debian's keys are not here, and nothing of ours is signed.
	sed -e 's/^\(CONFIG_\(SYSTEM_TRUSTED_KEYS\|SYSTEM_REVOCATION_KEYS\|MODULE_SIG_KEY\)\)=.*/\1=""/' \
		"$headers/.config" >build/.config
	cp build/.config build/.config.debian
	kernelversion=$(make -s -C source kernelversion)
	local make=(make -C source O=/kernel/build CC=gcc-14 HOSTCC=gcc-14
		"LOCALVERSION=${release#"$kernelversion"}" "-j$(nproc)")
	"${make[@]}" olddefconfig
	grep -qx CONFIG_RUST=y build/.config
	"${make[@]}" prepare modules_prepare
	[ "$(cat build/include/config/kernel.release)" = "$release" ]
	cp "$headers/Module.symvers" build/
	# The types of the kernel as Debian built it, to check layouts against.
	[ ! -e "$headers/vmlinux" ] || cp "$headers/vmlinux" btf-vmlinux
	echo "$release" >release
	{
		echo "kernel $release"
		echo "linux $version"
		dpkg-query -W -f '${Package} ${Version}\n' gcc-14 rustc bindgen pahole qemu-system-x86
	} >versions.txt
}

"$@"
