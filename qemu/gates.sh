#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# gates.sh [NAME]... - the checks that need no test: all, or those named. Each
# says in one line what is wrong and where. The exit status is how many failed.
. "$(dirname "$0")/lib.sh"
cd "$REPO"

# Names in a data file, without comments.
names_in() { sed -e 's/#.*//' -e 's/[[:space:]]*$//' -e '/^$/d' "$1"; }

gate_fmt() {
	files '*.rs' | grep -v '^uapi/bindings.rs$' |
		xargs -d '\n' "$QEMU_DIR/in-root.sh" rustfmt --check -l --config-path /repo/rustfmt.toml | sort -u
}

gate_spdx() {
	local file bad=0 seen=0
	while IFS= read -r file; do
		seen=1
		head -n 5 "$file" | grep -q SPDX-License-Identifier || {
			echo "$file: no SPDX-License-Identifier in its first lines"
			bad=1
		}
	done < <(files '*.rs' '*.c' '*.h' '*.cc' '*.cpp' '*.sh' '*.toml' '*.rst' '*.md' '*Kbuild' '*Makefile' .ci/run .gitignore)
	[ "$seen" = 1 ] || echo "no file was seen"
	[ "$bad$seen" = 01 ]
}

# Unsafe code lives in a named handful of files of the kernel side.
gate_unsafe() {
	local file bad=0 seen=0
	while read -r file; do
		seen=1
		if grep -qxF "$file" <(names_in qemu/unsafe-files); then
			continue
		fi
		if grep -nE 'allow\((.*, *)?unsafe_code' "$file"; then
			echo "$file: allows unsafe code, and isn't named in qemu/unsafe-files"
			bad=1
		fi
		grep -qE '^#!\[(deny|forbid)\(unsafe_code\)\]' "$file" || {
			echo "$file: has no #![deny(unsafe_code)], and isn't named in qemu/unsafe-files"
			bad=1
		}
	done < <(files 'alpc_mod/*.rs' | grep -v '^alpc_mod/logic/\(tests\|benches\|fuzz\)/')
	[ "$seen" = 1 ] || echo "no file was seen"
	[ "$bad$seen" = 01 ]
}

gate_bindings() { "$QEMU_DIR/in-root.sh" uapi/bindgen.sh --check; }

gate_header() {
	local flags="-Wall -Wextra -Werror -pedantic -fsyntax-only -I uapi"
	echo '#include "alpc.h"' | "$QEMU_DIR/in-root.sh" gcc -std=c99 $flags -x c - &&
		echo '#include "alpc.h"' | "$QEMU_DIR/in-root.sh" g++ $flags -x c++ -
}

gate_clippy() { "$QEMU_DIR/cargo.sh" root clippy --workspace --all-targets --features alpc-tests/criterion,alpc-linux/serde -- -D warnings; }

# What users of the crate see of the ABI's structures is in its module sys: each of
# them may grow with the ABI. The documentation has all that is public, and who has it.
gate_public() {
	local seen
	"$QEMU_DIR/cargo.sh" root doc -q -p alpc-linux --no-deps || return 1
	seen=$(cd target/root/doc/alpc && find . -name '*.*.html' ! -path './sys/*' -exec grep -oHE '\balpc_[a-z_]+' {} + | sort -u)
	[ -z "$seen" ] || {
		echo "structures of the ABI in public signatures:"
		echo "$seen"
		return 1
	}
}

# The oldest compiler that Cargo.toml promises is the root's, by which the lints look at all
# there is. That it makes programs of it is seen here.
gate_msrv() {
	local promised have
	promised=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
	have=$("$QEMU_DIR/in-root.sh" rustc --version)
	case $have in
	"rustc $promised."*) ;;
	*)
		echo "Cargo.toml promises Rust $promised, and the root has $have"
		return 1
		;;
	esac
	"$QEMU_DIR/cargo.sh" root build -q --workspace --bins --examples
}

# Kernel code: the kernel's own lints, every warning an error.
gate_kernel_clippy() { OUT=target/kbuild/$FLAVOUR-clippy "$QEMU_DIR/kbuild.sh" W=e CLIPPY=1 >/dev/null; }

# Every strong symbol must be exported by the kernel, and by others than
# Debian's too.
gate_symbols() {
	local ko kdir undefined missing debian
	ko=$("$QEMU_DIR/kbuild.sh" 2>/dev/null) || {
		"$QEMU_DIR/kbuild.sh" || true
		return 1
	}
	kdir=$("$QEMU_DIR/kdir.sh")
	undefined=$("$QEMU_DIR/in-root.sh" nm -u "/repo/${ko#"$REPO/"}" | awk '$1 == "U" { print $2 }' | sort)
	missing=$(comm -23 <(echo "$undefined") <(cut -f2 "$kdir/build/Module.symvers" | sort))
	[ -z "$missing" ] || echo "not exported by the kernel: $missing"
	debian=$(comm -12 <(echo "$undefined") <(names_in qemu/debian-exports | sort))
	[ -z "$debian" ] || echo "needed, but exported by Debian only: $debian"
	[ -z "$missing$debian" ]
}

# What the README has compiled is what the crate's own page has, which is tested.
gate_readme() {
	"$QEMU_DIR/in-root.sh" python3 - <<-'END'
		import re, sys
		page = open("/repo/userlib/README.md").read()
		blocks = re.findall(r"^```rust.*?^```$", open("/repo/README.md").read(), re.M | re.S)
		missing = [block for block in blocks if block not in page]
		for block in missing:
		    print("README.md has code that userlib/README.md has not: " + block.split("\n")[1])
		sys.exit(1 if missing or not blocks else 0)
	END
}

# What is packed for the registry compiles by itself. Cargo packs several packages that
# need each other from 1.90 on; older ones only say what they would pack.
gate_package() {
	local dir=target/package-copy crate file version
	rm -rf "$dir"
	mkdir -p "$dir"
	sed 's/^members = .*/members = ["uapi", "userlib"]/' Cargo.toml >"$dir/Cargo.toml"
	# What others publish next must not change the verdict, nor need a network.
	cp Cargo.lock "$dir/"
	for crate in uapi userlib; do
		"$QEMU_DIR/cargo.sh" host package -q --list --allow-dirty \
			--manifest-path "$crate/Cargo.toml" >target/package.list || return 1
		while read -r file; do
			# Some of it cargo makes.
			[ -e "$crate/$file" ] || continue
			mkdir -p "$(dirname "$dir/$crate/$file")"
			cp "$crate/$file" "$dir/$crate/$file"
		done <target/package.list
	done
	for file in README.md CHANGELOG.md; do
		[ -e "$dir/userlib/$file" ] || {
			echo "userlib/$file is not in the package"
			return 1
		}
	done
	"$QEMU_DIR/cargo.sh" host check -q --workspace --examples --manifest-path "$dir/Cargo.toml" || return 1
	version=$("$QEMU_DIR/cargo.sh" host --version | cut -d' ' -f2)
	[ "$(printf '%s\n' 1.90 "$version" | sort -V | head -n 1)" = 1.90 ] || {
		say "NOTE: gate package: no cargo of 1.90 here, so only a copy of what would be packed was compiled"
		return 0
	}
	"$QEMU_DIR/cargo.sh" host package -q -p alpc-uapi -p alpc-linux --allow-dirty
}

# Numbers in documents are those of the committed baseline.
gate_tables() { "$QEMU_DIR/cargo.sh" host run -q -p alpc-vm -- tables --check; }

# 500 lines are what one reads in a sitting.
gate_length() {
	local long
	long=$(files 'qemu/*' | xargs -d '\n' wc -l | awk '$1 > 500 && $2 != "total" { print $2 ": " $1 " lines" }')
	[ -z "$long" ] || {
		echo "$long"
		return 1
	}
}

if [ $# = 0 ]; then
	set -- spdx unsafe length fmt readme package tables bindings header clippy public msrv kernel-clippy symbols
fi
bad=0
for gate in "$@"; do
	start=$(date +%s)
	if output=$("gate_${gate//-/_}" 2>&1); then
		# What a gate could not look at is told.
		grep NOTE: <<<"$output" >&2 || true
		say "gate $gate: ok ($(($(date +%s) - start)) s)"
	else
		printf '%s\n' "$output" >&2
		say "gate $gate: FAILED"
		bad=$((bad + 1))
	fi
done
exit $bad
