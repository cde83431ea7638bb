/* CPUID and XCR0 on x86-64, what the kernel reports on ARM; affinity mask, cgroup quota and the PYEDGE_* variables
 * everywhere. */
#define _GNU_SOURCE /* sched_getaffinity, CPU_COUNT, syscall */

#include "base/cpu.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__linux__)
#include <sched.h>
#include <sys/syscall.h>
#endif
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>

/* XCR0 tells which registers the operating system saves (Intel SDM volume 1, 13.3): without its bits the
 * instructions fault even where CPUID lists them. */
static uint64_t read_xcr0(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

/* Linux gives the 8 KB of tile registers only to processes that ask (Documentation/arch/x86/xstate.rst). The request
 * holds for the whole process and may be repeated. */
static bool tiles_granted(void) {
#if defined(__linux__) && defined(SYS_arch_prctl)
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
#else
    return false;
#endif
}

static unsigned detect(void) {
    unsigned a, b, c, d, features = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    if (c & bit_SSE4_1 && c & bit_SSSE3) features |= PE_CPU_SSE41;
    if (!(c & bit_OSXSAVE)) return features;
    uint64_t xcr0 = read_xcr0();
    bool ymm = (xcr0 & 0x06) == 0x06, zmm = (xcr0 & 0xe6) == 0xe6;
    if (!ymm || !(c & bit_AVX)) return features;
    if (c & bit_FMA) features |= PE_CPU_FMA;
    if (c & bit_F16C) features |= PE_CPU_F16C;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return features;
    if (b & bit_AVX2) features |= PE_CPU_AVX2;
    unsigned a1, b1, c1, d1; /* leaf 7, subleaf 1: EAX bit 4 is AVX-VNNI, 5 is AVX512-BF16 */
    if (!__get_cpuid_count(7, 1, &a1, &b1, &c1, &d1)) a1 = 0;
    if (a1 & 1u << 4) features |= PE_CPU_AVXVNNI;
    unsigned wanted = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    if (!zmm || (b & wanted) != wanted) return features;
    features |= PE_CPU_AVX512;
    if (c & bit_AVX512VNNI) features |= PE_CPU_AVX512VNNI;
    if (a1 & 1u << 5) features |= PE_CPU_AVX512BF16;
    const unsigned amx = 1u << 22 | 1u << 24; /* leaf 7, EDX: bf16, tile */
    if ((d & amx) == amx && (xcr0 & 0x60000) == 0x60000 && tiles_granted()) features |= PE_CPU_AMX;
    return features;
}

#elif (defined(__aarch64__) || defined(__arm__)) && defined(__linux__)
#include <sys/auxv.h>

/* What the kernel says that programs may use; the bits are those of Linux's asm/hwcap.h for each architecture. */
static unsigned detect(void) {
    unsigned features = 0;
#if defined(__aarch64__)
    enum { ASIMD = 1 << 1, ASIMDDP = 1 << 20, I8MM = 1 << 13 };
    const unsigned long capabilities = getauxval(AT_HWCAP);
    if (capabilities & ASIMD) features |= PE_CPU_NEON;
    if (capabilities & ASIMDDP) features |= PE_CPU_DOTPROD;
    if (getauxval(AT_HWCAP2) & I8MM) features |= PE_CPU_I8MM;
#else
    enum { NEON = 1 << 12, VFPV4 = 1 << 16 };
    const unsigned long capabilities = getauxval(AT_HWCAP);
    if (capabilities & NEON) features |= PE_CPU_NEON;
    if (capabilities & VFPV4) features |= PE_CPU_VFPV4;
#endif
    return features;
}
#elif defined(__aarch64__) /* every other system there is runs on processors with NEON */
static unsigned detect(void) { return PE_CPU_NEON; }
#elif defined(__wasm_relaxed_simd__)
static unsigned detect(void) { return PE_CPU_SIMD128 | PE_CPU_RELAXED_SIMD; }
#elif defined(__wasm_simd128__)
static unsigned detect(void) { return PE_CPU_SIMD128; }
#else
static unsigned detect(void) { return 0; }
#endif

unsigned pe_cpu_features(void) {
    static atomic_uint known; /* the features, and bit 31 once they are */
    unsigned features = atomic_load_explicit(&known, memory_order_relaxed);
    if (!features) {
        features = detect() | 1u << 31;
        atomic_store_explicit(&known, features, memory_order_relaxed);
    }
    return features & ~(1u << 31);
}

void pe_cpu_describe(unsigned features, char *text, size_t size) {
    static const char *const names[] = {
        "sse4.1", "avx2",    "fma",  "f16c",  "avx512f/bw/dq/vl", "avx512vnni",         "avxvnni", "avx512bf16", "amx",
        "neon",   "dotprod", "i8mm", "vfpv4", [29] = "simd128",   [30] = "relaxed simd"};
    size_t used = 0;
    if (size) text[0] = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!names[i] || !(features >> i & 1)) continue;
        int n = snprintf(text + used, size - used, "%s%s", used ? ", " : "", names[i]);
        if (n < 0 || (size_t)n >= size - used) return;
        used += (size_t)n;
    }
}

static const char *environment(const char *name) {
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

const char *pe_cpu_forced_isa(void) { return environment("PYEDGE_ISA"); }

static int allowed_processors(void) {
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
#endif
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 && online < 4096 ? (int)online : 1;
}

#if defined(__linux__)
/* Quota of one cgroup directory in processors; 0 where there is none. Version 2 has cpu.max ("max 100000"), version 1
 * has two files. */
static double group_quota(const char *directory) {
    char path[600];
    double quota = 0, period = 0;
    snprintf(path, sizeof path, "%s/cpu.max", directory);
    FILE *file = fopen(path, "re");
    if (file) {
        if (fscanf(file, "%lf %lf", &quota, &period) != 2) quota = 0;
        fclose(file);
        return quota > 0 && period > 0 ? quota / period : 0;
    }
    snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", directory);
    file = fopen(path, "re");
    if (!file) return 0;
    if (fscanf(file, "%lf", &quota) != 1) quota = 0;
    fclose(file);
    snprintf(path, sizeof path, "%s/cpu.cfs_period_us", directory);
    file = fopen(path, "re");
    if (!file) return 0;
    if (fscanf(file, "%lf", &period) != 1) period = 0;
    fclose(file);
    return quota > 0 && period > 0 ? quota / period : 0;
}

/* The smallest quota on the way from this process's group up to the root. Inside a container the path of
 * /proc/self/cgroup is often not visible, so the root of the mount is always asked as well. */
static double cgroup_quota(void) {
    double least = 0;
    const char *const roots[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/cpu"};
    char line[512], directory[560];
    FILE *file = fopen("/proc/self/cgroup", "re");
    while (file && fgets(line, sizeof line, file)) {
        char *path = strchr(line, ':');
        path = path ? strchr(path + 1, ':') : NULL;
        if (!path) continue;
        bool unified = strncmp(line, "0::", 3) == 0;
        if (!unified && !strstr(line, "cpu")) continue;
        path++;
        path[strcspn(path, "\n")] = 0;
        for (;;) {
            snprintf(directory, sizeof directory, "%s%s", roots[unified ? 0 : 1], path);
            double quota = group_quota(directory);
            if (quota > 0 && (least == 0 || quota < least)) least = quota;
            char *slash = strrchr(path, '/');
            if (!slash || slash == path) break;
            *slash = 0;
        }
    }
    if (file) fclose(file);
    for (int i = 0; i < 2; i++) {
        double quota = group_quota(roots[i]);
        if (quota > 0 && (least == 0 || quota < least)) least = quota;
    }
    return least;
}
#else
static double cgroup_quota(void) { return 0; }
#endif

int pe_threads_explain(int *allowed, double *quota, int *forced) {
    int processors = allowed_processors(), wish = 0;
    double limit = cgroup_quota();
    const char *text = environment("PYEDGE_THREADS");
    if (text) {
        char *end;
        long value = strtol(text, &end, 10);
        wish = *end == 0 && value >= 1 && value <= PE_MAX_THREADS ? (int)value : -1;
    }
    if (allowed) *allowed = processors;
    if (quota) *quota = limit;
    if (forced) *forced = wish;
    if (wish > 0) return wish;
    int threads = processors;
    if (limit > 0 && limit < threads) threads = limit < 1 ? 1 : (int)limit;
    return threads;
}

int pe_threads_default(void) { return pe_threads_explain(NULL, NULL, NULL); }

pe_status pe_cpu_threads(int *out) {
    int forced;
    *out = pe_threads_explain(NULL, NULL, &forced);
    if (forced >= 0) return PE_OK;
    return pe_fail(PE_ERR_ARG, "PYEDGE_THREADS is '%.40s'; expected a number from 1 to %d",
                   environment("PYEDGE_THREADS"), PE_MAX_THREADS);
}
