/* A plugin for QEMU's user mode: how often each block of instructions was run.
 *
 * At the end it writes a line for each block to the file that `out=` names: address, instructions, runs. With several
 * threads some runs are lost. It is built without QEMU's header, which distributions do not ship: what it needs of it is
 * declared here, version 1 of the interface, up to QEMU 8.2 (https://www.qemu.org/docs/master/devel/tcg-plugins.html).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct qemu_plugin_tb;
extern void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t, void (*)(uint64_t, struct qemu_plugin_tb *));
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int, void *, uint64_t);
extern void qemu_plugin_register_atexit_cb(uint64_t, void (*)(uint64_t, void *), void *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

/* QEMU_PLUGIN_INLINE_ADD_U64 */
enum { ADD = 0 };

struct block {
    uint64_t address, instructions, runs;
    struct block *next;
};

enum { SLOTS = 1 << 16 };
static struct block *slots[SLOTS];
static const char *out;

/* QEMU calls this with its lock held, and the same block again whenever it has dropped its translation. */
static void translated(uint64_t id, struct qemu_plugin_tb *tb) {
    uint64_t address = qemu_plugin_tb_vaddr(tb), instructions = qemu_plugin_tb_n_insns(tb);
    struct block **slot = &slots[address / 4 % SLOTS], *block = *slot;
    (void)id;
    while (block && (block->address != address || block->instructions != instructions))
        block = block->next;
    if (!block) {
        block = calloc(1, sizeof *block);
        if (!block)
            abort();
        *block = (struct block){address, instructions, 0, *slot};
        *slot = block;
    }
    qemu_plugin_register_vcpu_tb_exec_inline(tb, ADD, &block->runs, 1);
}

static void ended(uint64_t id, void *unused) {
    FILE *file = fopen(out, "w");
    (void)id, (void)unused;
    if (!file) {
        perror(out);
        return;
    }
    for (int slot = 0; slot < SLOTS; slot++)
        for (const struct block *block = slots[slot]; block; block = block->next)
            fprintf(file, "%" PRIx64 " %" PRIu64 " %" PRIu64 "\n", block->address, block->instructions, block->runs);
    if (fclose(file))
        perror(out);
}

__attribute__((visibility("default"))) int qemu_plugin_install(uint64_t id, const void *info, int count, char **arguments) {
    (void)info;
    for (int i = 0; i < count; i++)
        if (!strncmp(arguments[i], "out=", 4))
            out = strdup(arguments[i] + 4);
    if (!out) {
        fputs("instructions: out=FILE is missing\n", stderr);
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
