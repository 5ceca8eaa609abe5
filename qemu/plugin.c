// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A plugin for QEMU that counts what is dear in the timed parts of the benchmark,
 * and that writes down which instructions a guest executes between two marks, and
 * where its kernel reads the memory of a process. Nothing in the kernel or in
 * alpc.ko takes part, so that what is counted is what ships.
 *
 * Counting. A program reads the time stamp counter where a timed part begins and
 * where it ends, by instructions with a prefix of their own. Behind each part the
 * file given with counts= gets its counters, as 32-bit numbers in the order of
 * enum counter.
 *
 * Tracing. The runner splits a call into its phases by what is written down. The
 * marks are instructions that do nothing, with a displacement of their own: the
 * first has everything translated anew, from when on each instruction reports
 * itself; the others begin and end a round trip. The file given with out= gets
 * 64-bit numbers: the address of each instruction, USER_READ behind one that read
 * user memory, END_OF_TRIP.
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

/* What an instruction is counted as. The last two begin and end a timed part. */
enum counter { LOCKED, SYSTEM_CALL, SWITCH, IPI, COUNTERS, TIMED_BEGIN = COUNTERS, TIMED_END, NOTHING };

/* No instruction is longer. */
enum { LONGEST = 15 };

static plugin_id self;
static FILE *out, *counts;
static bool prepared, recording;
static uint32_t counters[COUNTERS];

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

static void counted(unsigned int cpu, void *as)
{
	switch ((uintptr_t)as) {
	case TIMED_BEGIN:
		memset(counters, 0, sizeof(counters));
		break;
	case TIMED_END:
		fwrite(counters, sizeof(counters), 1, counts);
		fflush(counts);
		break;
	default:
		counters[(uintptr_t)as]++;
	}
}

/* The number of the mark that an instruction is, or 0. */
static unsigned int mark_of(const unsigned char *code, size_t size)
{
	/* nopl N + "ALP"(%rax) */
	if (size != 7 || memcmp(code, "\x0f\x1f\x80", 3) || memcmp(code + 4, "ALP", 3))
		return 0;
	return code[3];
}

/* A locked instruction has the prefix, or exchanges with memory. */
static bool is_locked(const unsigned char *code, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		bool prefix = code[i] && strchr("\x26\x2e\x36\x3e\x64\x65\x66\x67\xf2\xf3", code[i]);
		bool rex = (code[i] & 0xf0) == 0x40;

		if (code[i] == 0xf0)
			return true;
		if (!prefix && !rex)
			return (code[i] & 0xfe) == 0x86 && i + 1 < size && code[i + 1] < 0xc0;
	}
	return false;
}

static enum counter user_counter(const unsigned char *code, size_t size)
{
	if (size == 2 && !memcmp(code, "\x0f\x05", 2))
		return SYSTEM_CALL;
	if (size == 3 && !memcmp(code, "\x2e\x0f\x31", 3))
		return TIMED_BEGIN;
	if (size == 3 && !memcmp(code, "\x3e\x0f\x31", 3))
		return TIMED_END;
	return NOTHING;
}

/*
 * The kernel loads a stack pointer from a task in one place, where it switches to
 * that task: mov X(%rsi), %rsp in __switch_to_asm. It stores to the interrupt
 * command register of the local APIC by the address where that is fixed, and so
 * interrupts a processor: mov %reg, X, X being the last 3 MiB of addresses, offset
 * 0x300 of a page.
 */
static enum counter kernel_counter(const unsigned char *code, size_t size)
{
	if (size == 7 && !memcmp(code, "\x48\x8b\xa6", 3))
		return SWITCH;
	if (size == 7 && code[0] == 0x89 && (code[1] & 0xc7) == 0x04 && code[2] == 0x25 &&
	    code[3] == 0x00 && (code[4] & 0x0f) == 0x03 && code[5] >= 0x50 && code[6] == 0xff)
		return IPI;
	return NOTHING;
}

static void translated(plugin_id id, struct qemu_plugin_tb *block)
{
	size_t count = qemu_plugin_tb_n_insns(block);

	for (size_t i = 0; i < count; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(block, i);
		uint64_t address = qemu_plugin_insn_vaddr(insn);
		unsigned char code[LONGEST];
		size_t size = qemu_plugin_insn_data(insn, code, sizeof(code));
		bool user = address < USER_SPACE;
		enum counter as = user ? user_counter(code, size) : kernel_counter(code, size);
		unsigned int mark = user ? mark_of(code, size) : 0;

		if (as == NOTHING && is_locked(code, size))
			as = LOCKED;
		if (as != NOTHING)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, counted, NO_REGISTERS,
							       (void *)(uintptr_t)as);
		if (mark)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, marked, NO_REGISTERS,
							       (void *)(uintptr_t)mark);
		else if (prepared)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, executed, NO_REGISTERS,
							       (void *)(uintptr_t)address);
		if (prepared && !user)
			qemu_plugin_register_vcpu_mem_cb(insn, reads, NO_REGISTERS, READS, NULL);
	}
}

/* Opens the file that the argument NAME=FILE names, if it is that argument. */
static void open_if(FILE **file, const char *argument, const char *name)
{
	size_t length = strlen(name);

	if (!strncmp(argument, name, length) && argument[length] == '=')
		*file = fopen(argument + length + 1, "wb");
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		open_if(&out, argv[i], "out");
		open_if(&counts, argv[i], "counts");
	}
	if (!out || !counts) {
		fprintf(stderr, "plugin: out= or counts= names no file that can be written\n");
		return 1;
	}
	self = id;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
