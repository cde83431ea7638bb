#define _DEFAULT_SOURCE /* sysconf names, getrusage */

#include "cli/device.h"
#include "cli/cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { MAX_UNITS = 1024 }; /* processors, zones or sensors that are looked at */

/* ---- small files ------------------------------------------------------------------------------------------------ */

/* The first line of a file, or "" where it cannot be read. */
static bool read_line(const char *path, char *line, size_t size) {
    line[0] = 0;
    FILE *file = fopen(path, "re");
    if (!file) return false;
    const size_t n = fread(line, 1, size - 1, file);
    fclose(file);
    line[n] = 0;
    line[strcspn(line, "\n")] = 0;
    return n > 0;
}

static double read_number(const char *path) {
    char line[64], *end;
    if (!read_line(path, line, sizeof line)) return NAN;
    const double value = strtod(line, &end);
    return end == line ? NAN : value;
}

/* The number in the file `pattern` makes of `unit`. */
static double read_unit(const char *pattern, int unit) {
    char path[160];
    const char *star = strchr(pattern, '*');
    snprintf(path, sizeof path, "%.*s%d%s", (int)(star - pattern), pattern, unit, star + 1);
    return read_number(path);
}

typedef enum fold { MEAN, LARGEST, SUM } fold;

/* Over all units that have the file and a value from low to high; units may have gaps, not long ones. */
static double read_units(const char *pattern, fold how, double low, double high) {
    double total = 0, largest = -INFINITY;
    int n = 0;
    for (int unit = 0, gap = 0; unit < MAX_UNITS && gap < 64; unit++, gap++) {
        const double value = read_unit(pattern, unit);
        if (!(value >= low && value <= high)) continue;
        total += value;
        if (value > largest) largest = value;
        n++;
        gap = -1;
    }
    return n == 0 ? NAN : how == LARGEST ? largest : how == SUM ? total : total / n;
}

/* ---- what stays ------------------------------------------------------------------------------------------------- */

/* The value after "key :" in a line of /proc/cpuinfo or /proc/meminfo. */
static bool value_of(const char *line, const char *key, char *out, size_t size) {
    const size_t n = strlen(key);
    if (strncmp(line, key, n) != 0) return false;
    const char *at = line + n + strspn(line + n, " \t");
    if (*at != ':') return false;
    at += 1 + strspn(at + 1, " \t");
    snprintf(out, size, "%.*s", (int)strcspn(at, "\n"), at);
    return *out != 0;
}

static void read_cpuinfo(device_facts *out) {
    char line[512], implementer[32] = "", part[32] = "", vendor[64] = "";
    FILE *file = fopen("/proc/cpuinfo", "re");
    while (file && fgets(line, sizeof line, file)) {
        if (!out->cpu_info[0]) value_of(line, "model name", out->cpu_info, sizeof out->cpu_info);
        if (!implementer[0]) value_of(line, "CPU implementer", implementer, sizeof implementer);
        if (!part[0]) value_of(line, "CPU part", part, sizeof part);
        if (!vendor[0]) value_of(line, "vendor_id", vendor, sizeof vendor);
    }
    if (file) fclose(file);
    /* On ARM "model name" is the architecture, or missing; the part says which core it is. */
    if (implementer[0] && part[0])
        snprintf(out->cpu_info, sizeof out->cpu_info, "implementer %s part %s", implementer, part);
    const bool arm = strncmp(out->machine, "arm", 3) == 0 || strncmp(out->machine, "aarch64", 7) == 0;
    const bool x86 = strcmp(out->machine, "x86_64") == 0;
    out->emulated = (arm && vendor[0]) || (x86 && implementer[0]);
    if (out->emulated) out->cpu_info[0] = 0;
    if (!out->cpu_info[0]) snprintf(out->cpu_info, sizeof out->cpu_info, "%s", out->machine);
}

void device_get_facts(device_facts *out) {
    *out = (device_facts){0};
    struct utsname name;
    if (uname(&name) == 0) {
        snprintf(out->machine, sizeof out->machine, "%.63s", name.machine);
        snprintf(out->kernel, sizeof out->kernel, "%.63s %.63s", name.sysname, name.release);
    }
    read_cpuinfo(out);
    if (!read_line("/proc/device-tree/model", out->board, sizeof out->board))
        read_line("/sys/class/dmi/id/product_name", out->board, sizeof out->board);
    read_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", out->governor, sizeof out->governor);
    out->freq_max_mhz = read_units("/sys/devices/system/cpu/cpu*/cpufreq/cpuinfo_max_freq", LARGEST, 1, 1e9) / 1e3;
    const long processors = sysconf(_SC_NPROCESSORS_ONLN), pages = sysconf(_SC_PHYS_PAGES);
    out->n_processors = processors > 0 ? (int)processors : 0;
    if (pages > 0) out->memory_bytes = (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
    size_t used = 0;
    pe_isa_info isa;
    for (size_t i = 0; pe_isa_get(i, &isa); i++) {
        if (!isa.usable || used + strlen(isa.name) + 2 > sizeof out->cpu_features) continue;
        used += (size_t)snprintf(out->cpu_features + used, sizeof out->cpu_features - used, "%s%s", used ? " " : "",
                                 isa.name);
    }
}

/* ---- what changes ----------------------------------------------------------------------------------------------- */

static double frequency(void) {
    const double khz = read_units("/sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq", MEAN, 1, 1e9);
    if (isfinite(khz)) return khz / 1e3;
    char line[512], text[64];
    double total = 0;
    int n = 0;
    FILE *file = fopen("/proc/cpuinfo", "re");
    while (file && fgets(line, sizeof line, file))
        if (value_of(line, "cpu MHz", text, sizeof text)) total += strtod(text, NULL), n++;
    if (file) fclose(file);
    return n ? total / n : NAN;
}

void device_get_state(device_state *out) {
    *out = (device_state){.seconds = cli_seconds(), .throttles = -1, .throttled_now = -1};
    out->temp_c = read_units("/sys/class/thermal/thermal_zone*/temp", LARGEST, -5e4, 2e5) / 1e3;
    if (!isfinite(out->temp_c))
        out->temp_c = read_units("/sys/class/hwmon/hwmon*/temp1_input", LARGEST, -5e4, 2e5) / 1e3;
    out->freq_mhz = frequency();
    out->power_w = read_units("/sys/class/hwmon/hwmon*/power1_input", SUM, 1, 1e10) / 1e6;
    if (!isfinite(out->power_w))
        out->power_w = read_units("/sys/class/power_supply/BAT*/power_now", SUM, 1, 1e10) / 1e6;
    out->energy_j = read_units("/sys/class/powercap/intel-rapl:*/energy_uj", SUM, 0, 1e18) / 1e6;
    const double counted =
        read_units("/sys/devices/system/cpu/cpu*/thermal_throttle/core_throttle_count", SUM, 0, 1e15);
    if (isfinite(counted)) out->throttles = (int64_t)counted;
    char line[32]; /* Raspberry Pi: bit 0 undervoltage, 1 frequency capped, 2 throttled, 3 soft temperature limit */
    if (read_line("/sys/devices/platform/soc/soc:firmware/get_throttled", line, sizeof line))
        out->throttled_now = (strtoul(line, NULL, 16) & 15) != 0;
}

double device_power(const device_state *before, const device_state *after) {
    const double seconds = after->seconds - before->seconds, joule = after->energy_j - before->energy_j;
    if (seconds > 0 && joule > 0) return joule / seconds; /* a counter that wrapped gives less than nothing */
    return (before->power_w + after->power_w) / 2;
}

int device_throttled(const device_state *before, const device_state *after) {
    if (after->throttled_now > 0 || (before->throttles >= 0 && after->throttles > before->throttles)) return 1;
    return after->throttled_now == 0 || after->throttles >= 0 ? 0 : -1;
}

void device_reset_peak(void) {
    FILE *file = fopen("/proc/self/clear_refs", "we");
    if (!file) return;
    fputs("5", file);
    fclose(file);
}

uint64_t device_peak_rss(void) {
    char line[256], text[64];
    uint64_t peak = 0;
    FILE *file = fopen("/proc/self/status", "re");
    while (file && !peak && fgets(line, sizeof line, file))
        if (value_of(line, "VmHWM", text, sizeof text)) peak = 1024 * strtoull(text, NULL, 10);
    if (file) fclose(file);
    struct rusage usage;
    if (!peak && getrusage(RUSAGE_SELF, &usage) == 0) peak = 1024 * (uint64_t)usage.ru_maxrss;
    return peak;
}
