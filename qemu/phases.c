// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A plugin for QEMU that writes down which instructions a guest executes
 * between two marks, and where its kernel reads the memory of a process. The
 * runner splits a call into its phases by that: nothing in the kernel or in
 * alpc.ko takes part, so that what is counted is what ships.
 *
 * The marks are instructions that do nothing, with a displacement of their own:
 * the first has everything translated anew, from when on each instruction
 * reports itself; the others begin and end a round trip.
 *
 * Written to the file given with out=, as 64-bit numbers: the address of each
 * instruction, USER_READ behind one that read user memory, END_OF_TRIP.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* What is used of QEMU's interface, whose header Debian has in no package. */
#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 4;

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*translated_fn)(plugin_id id, struct qemu_plugin_tb *block);
typedef void (*executed_fn)(unsigned int cpu, void *data);
typedef void (*accessed_fn)(unsigned int cpu, uint32_t info, uint64_t address, void *data);

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, translated_fn fn);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, executed_fn fn,
					    int flags, void *data);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn, accessed_fn fn, int flags,
				      int access, void *data);
void qemu_plugin_reset(plugin_id id, void (*fn)(plugin_id id));
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *to, size_t size);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);

enum { NO_REGISTERS = 0, READS = 1 };

enum { END_OF_TRIP = 0, USER_READ = 1 };
enum { MARK_PREPARE = 1, MARK_BEGIN = 2, MARK_END = 3 };
#define USER_SPACE (1ull << 47)

static plugin_id self;
static FILE *out;
static bool prepared, recording;

static void put(uint64_t value)
{
	fwrite(&value, sizeof(value), 1, out);
}

static void executed(unsigned int cpu, void *address)
{
	if (recording)
		put((uintptr_t)address);
}

static void reads(unsigned int cpu, uint32_t info, uint64_t address, void *data)
{
	if (recording && address < USER_SPACE)
		put(USER_READ);
}

static void translated(plugin_id id, struct qemu_plugin_tb *block);

static void prepare(plugin_id id)
{
	prepared = true;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
}

static void marked(unsigned int cpu, void *mark)
{
	switch ((uintptr_t)mark) {
	case MARK_PREPARE:
		if (!prepared)
			qemu_plugin_reset(self, prepare);
		break;
	case MARK_BEGIN:
		recording = prepared;
		break;
	case MARK_END:
		if (recording) {
			recording = false;
			put(END_OF_TRIP);
			fflush(out);
		}
		break;
	}
}

/* The number of the mark that an instruction is, or 0. */
static unsigned int mark_of(const struct qemu_plugin_insn *insn)
{
	unsigned char code[7];

	/* nopl N + "ALP"(%rax) */
	if (qemu_plugin_insn_data(insn, code, sizeof(code)) != sizeof(code) ||
	    memcmp(code, "\x0f\x1f\x80", 3) || memcmp(code + 4, "ALP", 3))
		return 0;
	return code[3];
}

static void translated(plugin_id id, struct qemu_plugin_tb *block)
{
	size_t count = qemu_plugin_tb_n_insns(block);

	for (size_t i = 0; i < count; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(block, i);
		uint64_t address = qemu_plugin_insn_vaddr(insn);
		unsigned int mark = address < USER_SPACE ? mark_of(insn) : 0;

		if (mark)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, marked, NO_REGISTERS,
							       (void *)(uintptr_t)mark);
		else if (prepared)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, executed, NO_REGISTERS,
							       (void *)(uintptr_t)address);
		if (prepared && address >= USER_SPACE)
			qemu_plugin_register_vcpu_mem_cb(insn, reads, NO_REGISTERS, READS, NULL);
	}
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		if (!strncmp(argv[i], "out=", 4))
			out = fopen(argv[i] + 4, "wb");
	if (!out) {
		fprintf(stderr, "phases: out= names no file that can be written\n");
		return 1;
	}
	self = id;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
