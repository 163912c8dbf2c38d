/* Requests at a steady rate, however long the answers take: when the next one is due. Whoever sends it counts its latency from then
 * (``take_due``), also when it is late because nothing was free to send it on: what is not sent waits, and is sent in the end.
 */
#include <sys/prctl.h>

static uint64_t due, interval, end_of_pace;

static void begin_pace(uint64_t start, uint64_t end)
{
    prctl(PR_SET_TIMERSLACK, 1);
    due = start;
    end_of_pace = end;
}

static int is_due(void)
{
    return due < end_of_pace && due <= now();
}

static uint64_t take_due(void)
{
    due += interval;
    return due - interval;
}

static int all_are_sent(void)
{
    return due >= end_of_pace;
}

/* How long to wait for answers at most; ``none_free``: only an answer helps. */
static struct timespec until_due(int none_free)
{
    uint64_t at = now(), wait = none_free || all_are_sent() ? 100000000 : due <= at ? 0 : due - at;
    return (struct timespec){wait / 1000000000, wait % 1000000000};
}
