/* The client of the Redis cases: one epoll loop; GET and SET in turn, of keys by chance.
 *
 *   redis_load MODE PORT CONNECTIONS SIZE WARMUP SECONDS PIPELINE [RATE]
 *
 *   asks    each connection asks, waits for the replies, again and again; PIPELINE commands of one kind in one write
 *   woven   as asks, with GET and SET in turn in one write
 *   turns   as asks, on the connections in turn, IN_FLIGHT of them at a time
 *   paced   as turns, RATE writes in a second, however long the replies take; latency is from when one was due
 *
 * Values have SIZE bytes. All keys are set first, through the first connection. Counted are commands. Prints and waits as load.c does, and
 * runs again for every further line.
 * A reply that is an error, or a connection that fails, ends the program with status 1.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define PROGRAM "redis_load"
#include "latencies.h"
#include "pace.h"

enum { EVENTS = 256, CHUNK = 256 * 1024, SOURCES = 8, IN_FLIGHT = 32, KEYS = 10000, BATCH = 100, LARGE = 64 * 1024, FEW_KEYS = 16,
       PATIENCE = 120 };

struct connection {
    int fd;
    int busy;
    char *request;
    size_t sent, to_send, to_receive;
    int begins; /* the first byte of the replies is still to come */
    uint64_t started;
};

static char mode;
static int port, connections, keys, running, busy, loop, pipeline, turn;
static size_t size, get_size, command_size;
static uint64_t units;
static unsigned random_state = 2463534242u, kind;
static char received[CHUNK];
static struct connection *all;

static unsigned chance(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state;
}

static size_t digits(size_t number)
{
    char text[32];
    return snprintf(text, sizeof text, "%zu", number);
}

/* Commands */

static char *add(char *to, int set, int key)
{
    if (!set)
        return to + sprintf(to, "*2\r\n$3\r\nGET\r\n$10\r\nkey:%06d\r\n", key);
    to += sprintf(to, "*3\r\n$3\r\nSET\r\n$10\r\nkey:%06d\r\n$%zu\r\n", key, size);
    memset(to, 'x', size);
    memcpy(to + size, "\r\n", 2);
    return to + size + 2;
}

static void send_rest(struct connection *c)
{
    while (c->sent < c->to_send) {
        ssize_t sent = send(c->fd, c->request + c->sent, c->to_send - c->sent, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN)
            return;
        if (sent < 0)
            die("cannot send: %s", strerror(errno));
        c->sent += sent;
    }
}

static void begin(struct connection *c, uint64_t at)
{
    char *end = c->request;
    int set = kind++ & 1;
    c->to_receive = 0;
    for (int i = 0; i < pipeline; i++) {
        if (mode == 'w')
            set = i & 1;
        end = add(end, set, chance() % keys);
        c->to_receive += set ? 5 : get_size;
    }
    c->started = at;
    c->sent = 0;
    c->to_send = end - c->request;
    c->begins = 1;
    c->busy = 1;
    busy++;
    send_rest(c);
}

static int take(struct connection *c, size_t most)
{
    ssize_t got = recv(c->fd, received, most < CHUNK ? most : CHUNK, 0);
    if (got < 0 && errno == EAGAIN)
        return 0;
    if (got <= 0)
        die("a connection was lost: %s", got ? strerror(errno) : "closed");
    return got;
}

/* Whether all replies have come. */
static int goes_on(struct connection *c)
{
    if (!c->busy)
        return 0; /* an edge that came late */
    send_rest(c);
    while (c->to_receive) {
        int got = take(c, c->to_receive);
        if (!got)
            return 0;
        if (c->begins && *received != '$' && *received != '+')
            die("an answer is: %.*s", got < 80 ? got : 80, received);
        c->begins = 0;
        c->to_receive -= got;
    }
    record(now() - c->started);
    units += pipeline;
    c->busy = 0;
    busy--;
    return 1;
}

/* Who is next */

static struct connection *next_free(void)
{
    for (int i = 0; i < connections; i++) {
        turn = (turn + 1) % connections;
        if (!all[turn].busy)
            return &all[turn];
    }
    return NULL;
}

/* Send what is due; returns whether something is left, for which no connection is free. */
static int send_due(void)
{
    while (is_due()) {
        struct connection *c = next_free();
        if (!c)
            return 1;
        begin(c, take_due());
    }
    return 0;
}

static void step(void)
{
    struct epoll_event events[EVENTS];
    struct timespec wait = until_due(mode != 'p' || !running || send_due());
    int count = epoll_pwait2(loop, events, EVENTS, &wait, NULL);
    for (int i = 0; i < count; i++) {
        struct connection *c = events[i].data.ptr;
        if (goes_on(c) && running && mode != 'p')
            begin(mode == 't' ? next_free() : c, now());
    }
}

static double run(double seconds)
{
    uint64_t start = now(), end = start + seconds * 1e9;
    memset(histogram, 0, sizeof histogram);
    units = 0;
    running = 1;
    begin_pace(start, end);
    int first = mode == 'p' ? 0 : mode == 't' && connections > IN_FLIGHT ? IN_FLIGHT : connections;
    for (int i = 0; i < first; i++)
        begin(mode == 't' ? next_free() : &all[i], now());
    while (now() < end || (mode == 'p' && !all_are_sent()))
        step();
    running = 0;
    while (busy)
        step();
    return (now() - start) / 1e9;
}

/* Connections come from several addresses, so that no address runs out of ports. */
static void open_connection(struct connection *c, int number)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + number % SOURCES)};
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
    int on = 1;
    c->request = malloc(pipeline * command_size);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(c->fd, (struct sockaddr *)&address, sizeof address))
        die("cannot bind: %s", strerror(errno));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address))
        die("cannot connect: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    if (epoll_ctl(loop, EPOLL_CTL_ADD, c->fd, &event))
        die("cannot watch: %s", strerror(errno));
}

/* One exchange on each connection, so that all that comes with a new one is over. */
static void open_all(void)
{
    for (int i = 0; i < connections; i++) {
        open_connection(&all[i], i);
        begin(&all[i], now());
        while (busy)
            step();
    }
}

static void set_all_keys(void)
{
    struct connection *c = &all[0];
    int at_once = size < LARGE ? BATCH : 1;
    open_connection(c, 0);
    c->request = realloc(c->request, at_once * command_size);
    for (int key = 0; key < keys; key += at_once) {
        char *end = c->request;
        for (int i = 0; i < at_once; i++)
            end = add(end, 1, key + i);
        c->to_send = end - c->request;
        c->to_receive = 5 * at_once;
        c->sent = 0;
        c->busy = c->begins = busy = 1;
        send_rest(c);
        while (busy)
            step();
    }
    close(c->fd);
    free(c->request);
}

static void wait_for_line(void)
{
    int byte;
    while ((byte = getchar()) != '\n')
        if (byte == EOF)
            exit(0);
}

static char mode_of(const char *name)
{
    static const char *names[] = {"asks", "woven", "turns", "paced"};
    for (int i = 0; i < 4; i++)
        if (!strcmp(name, names[i]))
            return "awtp"[i];
    die("unknown mode %s", name);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 8)
        die("usage: redis_load asks|woven|turns|paced PORT CONNECTIONS SIZE WARMUP SECONDS PIPELINE [RATE]");
    mode = mode_of(argv[1]);
    port = atoi(argv[2]);
    connections = atoi(argv[3]);
    size = atol(argv[4]);
    double warmup = atof(argv[5]), seconds = atof(argv[6]);
    pipeline = atoi(argv[7]);
    interval = argc > 8 ? 1e9 / atof(argv[8]) : 1000000;
    if (connections < 1 || size < 1 || pipeline < 1)
        die("needs 1 connection, byte and command or more");
    keys = size < LARGE ? KEYS : FEW_KEYS;
    get_size = 1 + digits(size) + 2 + size + 2;
    command_size = size + 100;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    alarm(PATIENCE + warmup + seconds);
    loop = epoll_create1(0);
    all = calloc(connections, sizeof *all);
    set_all_keys();
    open_all();
    if (warmup > 0)
        run(warmup);
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        wait_for_line();
        alarm(PATIENCE + seconds);
        double elapsed = run(seconds);
        printf("{\"units\": %lu, \"seconds\": %.6f, \"p50\": %.2f, \"p99\": %.2f}\n", units, elapsed, quantile_us(0.5),
               quantile_us(0.99));
        fflush(stdout);
    }
}
