/* Sends captured packets on an interface, so many a second: what the bench feeds a passive capture with.
 *
 *   packets INTERFACE RATE < FILE
 *
 * The file has packets, each behind its size in four bytes (of this machine's order). They are sent in the order of the file, those of a
 * millisecond in one system call. Prints how many were sent, and in how many seconds, as JSON.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

enum { BATCH = 1024 };

static void die(const char *what)
{
    fprintf(stderr, "packets: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void sleep_until(uint64_t at)
{
    struct timespec t = {at / 1000000000, at % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        ;
}

/* How many packets begin at `at`, up to `most`; they are laid out in `messages`. */
static int gather(unsigned char **at, unsigned char *end, struct mmsghdr *messages, struct iovec *parts, int most)
{
    int count = 0;
    while (count < most && *at < end) {
        uint32_t size;
        memcpy(&size, *at, sizeof size);
        parts[count] = (struct iovec){*at + sizeof size, size};
        messages[count].msg_hdr = (struct msghdr){.msg_iov = &parts[count], .msg_iovlen = 1};
        *at += sizeof size + size;
        count++;
    }
    return count;
}

int main(int argc, char **argv)
{
    if (argc != 3 || atof(argv[2]) <= 0) {
        fprintf(stderr, "usage: packets INTERFACE RATE < FILE\n");
        return 2;
    }
    static struct mmsghdr messages[BATCH];
    static struct iovec parts[BATCH];
    double rate = atof(argv[2]);
    struct stat file;
    if (fstat(0, &file))
        die("standard input");
    unsigned char *at = mmap(NULL, file.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, 0, 0), *end = at + file.st_size;
    if (at == MAP_FAILED)
        die("standard input");
    struct sockaddr_ll there = {.sll_family = AF_PACKET, .sll_ifindex = if_nametoindex(argv[1])};
    int fd = socket(AF_PACKET, SOCK_RAW, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&there, sizeof there))
        die(argv[1]);
    uint64_t sent = 0, start = now();
    while (at < end) {
        uint64_t due = (now() - start) / 1e9 * rate + 1;
        int count = due > sent ? gather(&at, end, messages, parts, due - sent < BATCH ? due - sent : BATCH) : 0;
        for (int done = 0; done < count;) {
            int some = sendmmsg(fd, messages + done, count - done, 0);
            if (some < 0 && errno != ENOBUFS && errno != EAGAIN)
                die("cannot send");
            done += some > 0 ? some : 0;
        }
        sent += count;
        if (count < BATCH)
            sleep_until(start + (sent + rate / 1000) / rate * 1e9);
    }
    printf("{\"sent\": %lu, \"seconds\": %.6f}\n", sent, (now() - start) / 1e9);
    return 0;
}
