# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Everything below does its own set-up and can be repeated at will. Kbuild
# reads the file Kbuild beside this one instead.

.DEFAULT_GOAL := help
.SUFFIXES:
MAKEFLAGS += --no-print-directory

SETTINGS := KSERIES FLAVOUR MIRROR ALPC_CACHE ALPC_ACCEL T CPUS HARDENED BASELINE ENV BOOT_TIMEOUT CRATE C RUN KDIR DESTDIR
# As they were typed: a $ in them is the shell's.
$(foreach s,$(SETTINGS),$(if $(filter undefined default,$(origin $s)),,$(eval override $s := $$(value $s))))
export $(SETTINGS)
# What relative paths begin at: where make was called, of make -C too.
export ALPC_CALLER := $(or $(value PWD),$(CURDIR))
# The scripts run make themselves, with settings of their own.
RIG := MAKEFLAGS= MFLAGS= MAKELEVEL= qemu/rig.sh

TARGETS := demo test test-debug test-strangers check bench bench-tables vm-test shell run kernel rust-analyzer fmt clippy doc clean distclean

.PHONY: help modules install $(TARGETS)

help: ## this list
	@echo 'make TARGET [SETTING=value]...'
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{ printf "%-16s %s\n", $$1, $$2 }'
	@echo
	@echo 'Settings:'
	@echo '  KSERIES=7.3      the kernel series to take from the archive'
	@echo '  FLAVOUR=...      cloud-amd64, amd64 (what bench takes), or debug: a kernel with every checker'
	@echo '  MIRROR=URL       the Debian archive, instead of the one apt uses here'
	@echo '  ALPC_CACHE=DIR   where the Debian root and the kernel tree are kept'
	@echo '  ALPC_ACCEL=...   kvm, tcg or auto'
	@echo '  BASELINE=record  bench: what is measured becomes the baseline'
	@echo '  CPUS=N           processors of the guest (vm-test, shell, run, times of bench)'
	@echo '  ENV="A=1 B=2"    environment of what runs in the guest; ALPC_TEST_TIMEOUT=S is the limit of'
	@echo '                   one test binary, or of a run without a terminal (600)'
	@echo '  BOOT_TIMEOUT=S   limit of one boot (1800)'

demo: ## processes of several users talk through alpc.ko in a guest
test: ## all gates and all tests; closes with "N passed, N failed"
test-debug: ## all tests on the debug kernel alone
test-strangers: ## T=name: who waits for a starved stranger, in all rounds and in exact time
check: ## the inner loop: formatting, host tests, one boot
bench: ## instructions per round trip (target/bench), and times (target/criterion)
bench-tables: ## the tables of documents, from the committed baseline
vm-test: ## T=name: one test binary, or the tests whose name has that (HARDENED=1)
shell: ## a prompt in the guest, alpc.ko loaded (CRATE=dir, C=dir: a crate or C programs too)
run: ## CRATE=dir, C=dir: those programs in the guest (RUN='a & b': a command line)
modules: ## alpc.ko for the kernel this machine runs (KDIR=tree: for another)
install: ## puts that into /lib/modules (as root)
kernel: ## prepares the caches only
rust-analyzer: ## rust-project.json for the kernel side
fmt: ## formats all Rust code
clippy: ## the lints of both sides
doc: ## the crate's documentation
clean: ## removes what was built here
distclean: ## removes the caches as well

$(TARGETS):
	@$(RIG) $@

modules install:
	@MAKEFLAGS= MFLAGS= MAKELEVEL= qemu/modules.sh $@
