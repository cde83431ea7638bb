/* Choosing kernels: the rows of isas.def that this library was built with, held against what the machine allows. */
#include "base/cpu.h"
#include "kernels/kernels.h"

#include <stdio.h>
#include <string.h>

/* A module runs one instruction set, the one that all of it is compiled for; a check has all rows beside each other. */
#if defined(__wasm_simd128__) && !defined(PE_ALL_ROWS)
#define PE_ROW_ANY(row)
#else
#define PE_ROW_ANY(row) row
#endif
#if defined(__wasm_simd128__) && (defined(PE_ALL_ROWS) || !defined(__wasm_relaxed_simd__))
#define PE_ROW_WASM(row) row
#else
#define PE_ROW_WASM(row)
#endif
#if defined(__wasm_relaxed_simd__)
#define PE_ROW_WASMRELAXED(row) row
#else
#define PE_ROW_WASMRELAXED(row)
#endif
#if defined(__x86_64__)
#define PE_ROW_X86_64(row) row
#else
#define PE_ROW_X86_64(row)
#endif
#if defined(__aarch64__)
#define PE_ROW_AARCH64(row) row
#else
#define PE_ROW_AARCH64(row)
#endif
#if defined(__arm__)
#define PE_ROW_ARM32(row) row
#else
#define PE_ROW_ARM32(row)
#endif
#define COMMA ,

#define PE_ISA(name, arch, needs, flags) PE_ROW_##arch(extern const pe_kernels pe_kernels_##name;)
#include "kernels/isas.def"
#undef PE_ISA

typedef struct isa_row {
    const char *name;
    unsigned needs;
    const pe_kernels *kernels;
} isa_row;

static const isa_row rows[] = {
#define PE_ISA(name, arch, needs, flags) PE_ROW_##arch({#name COMMA needs COMMA & pe_kernels_##name} COMMA)
#include "kernels/isas.def"
#undef PE_ISA
};
enum { N_ROWS = sizeof rows / sizeof *rows };

static unsigned missing(const isa_row *row) { return row->needs & ~pe_cpu_features(); }

bool pe_isa_get(size_t index, pe_isa_info *out) {
    static _Thread_local char reason[160];
    if (index >= N_ROWS) return false;
    const isa_row *row = &rows[index];
    unsigned lacking = missing(row);
    char list[128];
    pe_cpu_describe(lacking ? lacking : row->needs, list, sizeof list);
    if (row->needs == 0)
        snprintf(reason, sizeof reason, "plain C");
    else
        snprintf(reason, sizeof reason, "%s %s", lacking ? "lacks" : "needs", list);
    *out = (pe_isa_info){row->name, lacking == 0, reason};
    return true;
}

pe_status pe_kernels_select(const char *name, const pe_kernels **out) {
    const char *from = "the requested instruction set";
    if (!name) {
        name = pe_cpu_forced_isa();
        from = "PYEDGE_ISA";
    }
    if (!name) {
        for (size_t i = N_ROWS; i-- > 0;) {
            if (missing(&rows[i])) continue;
            *out = rows[i].kernels;
            return PE_OK;
        }
    }
    char known[256] = "";
    for (size_t i = 0; i < N_ROWS && name; i++) {
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", rows[i].name);
        if (strcmp(rows[i].name, name) != 0) continue;
        unsigned lacking = missing(&rows[i]);
        if (!lacking) {
            *out = rows[i].kernels;
            return PE_OK;
        }
        char list[128];
        pe_cpu_describe(lacking, list, sizeof list);
        return pe_fail(PE_ERR_UNSUPPORTED, "%s '%.40s' cannot run on this machine: it lacks %s", from, name, list);
    }
    return pe_fail(PE_ERR_UNSUPPORTED, "%s '%.40s' is not in this build; it has %s", from, name ? name : "", known);
}

pe_status pe_isa_select(const char **name) {
    const pe_kernels *kernels;
    pe_status status = pe_kernels_select(NULL, &kernels);
    if (status == PE_OK) *name = kernels->name;
    return status;
}

int pe_kernels_slot(int type) {
    switch (type) {
#define PE_QUANT(number, NAME, lower, elements, bytes, kind, mins, largest)                                            \
    case number:                                                                                                       \
        return PE_SLOT_##NAME;
#include "quant/quants.def"
#undef PE_QUANT
    default:
        return -1;
    }
}
