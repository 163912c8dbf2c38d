/* The client of the HTTP cases: one epoll loop of keep-alive connections, each of which waits for its answers before it asks again.
 *
 *   http_load MODE PORT CONNECTIONS SIZE WARMUP SECONDS [RATE]
 *
 *   get        the same GET of SIZE bytes, again and again
 *   different  each with a path, a query, a request id and a trace header of its own
 *   pipeline   sixteen GETs in one write
 *   download   GETs of 1 GiB; the unit is a byte
 *   upload     PUTs of 1 GiB; the unit is a byte
 *   turns      as get, on the connections in turn, IN_FLIGHT of them at a time
 *   routes     as turns, each for one of ROUTES first segments of the path
 *   paced      as turns, RATE in a second, however long the answers take; latency is from when a request was due
 *   once       a GET on each connection before the program is ready, and none after
 *
 * Prints and waits as load.c does. An answer that is not 200 with SIZE bytes ends the program with status 1.
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

#define PROGRAM "http_load"
#include "latencies.h"
#include "pace.h"

enum { EVENTS = 256, CHUNK = 256 * 1024, DEPTH = 16, REQUEST = 1024, IN_FLIGHT = 32, ROUTES = 10000, PATIENCE = 120 };
#define GIB (1ull << 30)

#define FIELDS \
    "Host: bench.test\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\n" \
    "Accept: text/html,application/xhtml+xml\r\nAccept-Encoding: gzip, deflate\r\nAccept-Language: en\r\n" \
    "Cookie: session=0123456789abcdef0123456789abcdef\r\n"

struct connection {
    int fd, waiting, head; /* answers to come; how much of a head has come */
    uint64_t body, to_send, started;
    char buffer[4096];
};

static char mode;
static int port, connections, running, loop, busy, turn;
static uint64_t size, units, serial;
static char chunk[CHUNK];
static struct connection *all;

/* The connections of these modes take turns. */
static int in_turn(void)
{
    return mode == 't' || mode == 'r' || mode == 'a';
}

static int make_request(char *to)
{
    unsigned long n = ++serial;
    if (mode == 'd')
        return sprintf(to, "GET /%lu/path/%lu?query=%lu HTTP/1.1\r\n" FIELDS "X-Request-ID: %032lx\r\n"
                       "traceparent: 00-%032lx-00f067aa0ba902b7-01\r\n\r\n", size, n, n, n, n);
    if (mode == 'r')
        return sprintf(to, "GET /%lu/route-%lu/path HTTP/1.1\r\n" FIELDS "\r\n", size, n * 7919 % ROUTES);
    if (mode == 'u')
        return sprintf(to, "PUT /0/path HTTP/1.1\r\n" FIELDS "Content-Length: %llu\r\n\r\n", GIB);
    return sprintf(to, "GET /%llu/path HTTP/1.1\r\n" FIELDS "\r\n", mode == 'b' ? GIB : (unsigned long long)size);
}

static void begin(struct connection *c)
{
    static char requests[DEPTH * REQUEST];
    int length = 0, count = mode == 'p' ? DEPTH : 1;
    for (int i = 0; i < count; i++)
        length += make_request(requests + length);
    if (send(c->fd, requests, length, MSG_NOSIGNAL) != length)
        die("cannot send a request: %s", strerror(errno));
    c->waiting = count;
    c->started = now();
    c->to_send = mode == 'u' ? GIB : 0;
    busy++;
}

/* The next one that waits for nothing; NULL: all wait. */
static struct connection *next_in_turn(void)
{
    for (int tried = 0; tried <= connections; tried++) {
        struct connection *c = &all[turn];
        turn = (turn + 1) % connections;
        if (!c->waiting)
            return c;
    }
    return NULL;
}

static void answered(struct connection *c)
{
    if (mode != 'b' && mode != 'u') {
        units++;
        record(now() - c->started);
    }
    if (--c->waiting == 0) {
        busy--;
        if (running && mode != 'a')
            begin(in_turn() ? next_in_turn() : c);
    }
}

/* What has come of a head is in the buffer; returns how many of the new bytes belonged to it. */
static ssize_t take_head(struct connection *c, const char *data, ssize_t count)
{
    ssize_t room = sizeof c->buffer - 1 - c->head, taken = count < room ? count : room;
    memcpy(c->buffer + c->head, data, taken);
    c->buffer[c->head + taken] = 0;
    char *end = strstr(c->buffer, "\r\n\r\n");
    if (!end) {
        c->head += taken;
        if (taken == room)
            die("a head without an end");
        return taken;
    }
    if (strncmp(c->buffer, "HTTP/1.1 200", 12))
        die("the answer is %.40s", c->buffer);
    char *length = strcasestr(c->buffer, "\r\ncontent-length:");
    if (!length)
        die("an answer without Content-Length");
    c->body = strtoull(length + 17, NULL, 10);
    ssize_t used = end + 4 - (c->buffer + c->head);
    c->head = 0;
    if (!c->body)
        answered(c);
    return used;
}

static void receive(struct connection *c)
{
    int discard = c->body > CHUNK;
    ssize_t count = recv(c->fd, chunk, sizeof chunk, discard ? MSG_TRUNC : 0), at = 0;
    if (count < 0 && errno == EAGAIN)
        return;
    if (count <= 0)
        die("a connection was closed");
    while (at < count) {
        if (!c->body) {
            if (!c->waiting)
                die("more than was asked for");
            at += take_head(c, chunk + at, count - at);
            continue;
        }
        uint64_t left = count - at, part = left < c->body ? left : c->body;
        c->body -= part;
        at += part;
        if (mode == 'b')
            units += part;
        if (!c->body)
            answered(c);
    }
}

static void send_body(struct connection *c)
{
    while (c->to_send) {
        ssize_t sent = send(c->fd, chunk, c->to_send < CHUNK ? c->to_send : CHUNK, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN)
            return;
        if (sent < 0)
            die("cannot send: %s", strerror(errno));
        c->to_send -= sent;
        units += sent;
    }
}

/* Send what is due; returns whether something is left, for which no connection is free. */
static int send_due(void)
{
    while (is_due()) {
        struct connection *c = next_in_turn();
        if (!c)
            return 1;
        begin(c);
        c->started = take_due();
    }
    return 0;
}

static void step(void)
{
    struct epoll_event events[EVENTS];
    struct timespec wait = until_due(mode != 'a' || !running || send_due());
    int count = epoll_pwait2(loop, events, EVENTS, &wait, NULL);
    for (int i = 0; i < count; i++) {
        struct connection *c = events[i].data.ptr;
        if (events[i].events & ~EPOLLOUT)
            receive(c);
        if (events[i].events & EPOLLOUT)
            send_body(c);
    }
}

static void open_all(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    int on = 1;
    for (int i = 0; i < connections; i++) {
        struct connection *c = &all[i];
        struct epoll_event event = {.events = EPOLLIN | (mode == 'u' ? EPOLLOUT | EPOLLET : 0), .data.ptr = c};
        c->fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(c->fd, (struct sockaddr *)&address, sizeof address))
            die("cannot connect: %s", strerror(errno));
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        fcntl(c->fd, F_SETFL, O_NONBLOCK);
        if (epoll_ctl(loop, EPOLL_CTL_ADD, c->fd, &event))
            die("cannot watch: %s", strerror(errno));
        if (mode == 'o') {
            begin(c);
            while (busy)
                step();
        }
    }
}

/* Bulk transfers are not waited for: they go on from one window into the next. */
static double run(double seconds)
{
    uint64_t start = now(), end = start + seconds * 1e9;
    memset(histogram, 0, sizeof histogram);
    units = 0;
    running = 1;
    begin_pace(start, end);
    for (int i = 0; i < connections && mode != 'a' && mode != 'o' && busy < (in_turn() ? IN_FLIGHT : connections); i++)
        if (!all[i].waiting)
            begin(&all[i]);
    while (now() < end || (mode == 'a' && !all_are_sent()))
        step();
    if (mode != 'b' && mode != 'u') {
        running = 0;
        while (busy)
            step();
    }
    return (now() - start) / 1e9;
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
    static const char *names[] = {"get", "different", "pipeline", "download", "upload", "turns", "routes", "paced", "once"};
    for (int i = 0; i < 9; i++)
        if (!strcmp(name, names[i]))
            return "gdpbutrao"[i];
    die("unknown mode %s", name);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 7)
        die("usage: http_load MODE PORT CONNECTIONS SIZE WARMUP SECONDS [RATE]");
    mode = mode_of(argv[1]);
    port = atoi(argv[2]);
    connections = atoi(argv[3]);
    size = strtoull(argv[4], NULL, 10);
    double warmup = atof(argv[5]), seconds = atof(argv[6]);
    interval = argc > 7 ? 1e9 / atof(argv[7]) : 1000000;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    alarm(PATIENCE + warmup + seconds);
    loop = epoll_create1(0);
    all = calloc(connections, sizeof *all);
    open_all();
    if (warmup > 0)
        run(warmup);
    printf("ready\n");
    fflush(stdout);
    wait_for_line();
    double elapsed = run(seconds);
    printf("{\"units\": %lu, \"seconds\": %.6f, \"p50\": %.2f, \"p99\": %.2f}\n", units, elapsed, quantile_us(0.5),
           quantile_us(0.99));
    fflush(stdout);
    wait_for_line();
}
