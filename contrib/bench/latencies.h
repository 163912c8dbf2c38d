/* What the load programs share: how they give up, what time it is, and latencies. A program says its name first:
 *
 *   #define PROGRAM "load"
 */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { SUB_BUCKETS = 64 };

static uint64_t histogram[64 * SUB_BUCKETS];

static void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, PROGRAM ": ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    exit(1);
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* Latencies: each power of two in SUB_BUCKETS steps, so within 1.6 % of the true value. */
static void record(uint64_t ns)
{
    int shift = ns < SUB_BUCKETS ? 0 : 63 - __builtin_clzll(ns) - 6;
    histogram[shift * SUB_BUCKETS + (ns >> shift)]++;
}

static double quantile_us(double q)
{
    uint64_t total = 0, seen = 0;
    int last = sizeof histogram / sizeof *histogram;
    for (int i = 0; i < last; i++)
        total += histogram[i];
    for (int i = 0; i < last; i++) {
        seen += histogram[i];
        if (total && seen >= q * total) {
            int shift = i < 2 * SUB_BUCKETS ? 0 : i / SUB_BUCKETS - 1;
            return (double)((uint64_t)(i - shift * SUB_BUCKETS) << shift) / 1000;
        }
    }
    return 0;
}
