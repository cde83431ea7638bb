/* Facts of the machine, as far as Linux shows them in /proc and /sys. Nothing here is needed to run: a fact that cannot
 * be read is absent (an empty text, NAN, 0 or -1). pyedge/device.py reads the same from the same files. */
#ifndef PE_CLI_DEVICE_H
#define PE_CLI_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct device_facts { /* what stays */
    char cpu_info[128], board[128], machine[64], kernel[160], governor[32], cpu_features[160];
    int n_processors;
    uint64_t memory_bytes;
    double freq_max_mhz;
    bool emulated; /* the processor that the program sees is not the one that the kernel shows */
} device_facts;

typedef struct device_state { /* what changes */
    double seconds;           /* of the clock */
    double temp_c;            /* the hottest zone */
    double freq_mhz;          /* mean over the processors */
    double power_w;           /* of a sensor, now */
    double energy_j;          /* of a counter, since some start */
    int64_t throttles;        /* counted since start, -1: not shown */
    int throttled_now;        /* 1, 0, -1: not shown */
} device_state;

void device_get_facts(device_facts *out);
void device_get_state(device_state *out);
/* Mean watts between two states; NAN where neither counter nor sensor is there. */
double device_power(const device_state *before, const device_state *after);
/* Whether the machine slowed itself down between two states: 1, 0, -1 where it does not show. */
int device_throttled(const device_state *before, const device_state *after);
/* The largest resident memory since device_reset_peak, or since the start where that cannot be reset; 0: not shown. */
uint64_t device_peak_rss(void);
void device_reset_peak(void);

#endif
