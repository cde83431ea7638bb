/* What this machine allows: instruction sets by processor and operating system, threads by affinity and quota.
 * The only place that reads the environment. */
#ifndef PE_BASE_CPU_H
#define PE_BASE_CPU_H

#include "base/status.h"

enum { /* bits of pe_cpu_features; each is set only where the processor has it and the system saves its registers */
       PE_CPU_SSE41 = 1 << 0,
       PE_CPU_AVX2 = 1 << 1,
       PE_CPU_FMA = 1 << 2,
       PE_CPU_F16C = 1 << 3,
       PE_CPU_AVX512 = 1 << 4, /* F, BW, DQ and VL together */
       PE_CPU_AVX512VNNI = 1 << 5,
       PE_CPU_AVXVNNI = 1 << 6,
       PE_CPU_AVX512BF16 = 1 << 7,
       PE_CPU_AMX = 1 << 8, /* tiles with bf16 products, and the system's leave to use them */
       PE_CPU_NEON = 1 << 9,
       PE_CPU_DOTPROD = 1 << 10,
       PE_CPU_I8MM = 1 << 11,
       PE_CPU_VFPV4 = 1 << 12,   /* of 32-bit ARM: half floats and fused multiply-add in vectors too */
       PE_CPU_SIMD128 = 1 << 29, /* of WebAssembly; an engine without it does not compile the module at all */
       PE_CPU_RELAXED_SIMD = 1 << 30,
};

unsigned pe_cpu_features(void);

/* The names of the bits in `features`, "avx2, fma", for messages; written to text [size], always terminated. */
void pe_cpu_describe(unsigned features, char *text, size_t size);

/* PYEDGE_ISA, or NULL where it is unset or empty. */
const char *pe_cpu_forced_isa(void);

enum { PE_MAX_THREADS = 512 };
/* pe_threads_default(), or PE_ERR_ARG where PYEDGE_THREADS is no number from 1 to PE_MAX_THREADS. */
pe_status pe_cpu_threads(int *out);

#endif
