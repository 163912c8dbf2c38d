/* The client of the HTTP/2 cases: one epoll loop of connections with 32 streams each, which are opened anew as they are answered.
 *
 *   http2_load MODE PORT CONNECTIONS SIZE WARMUP SECONDS [RATE]
 *
 *   get        the same GET of SIZE bytes, again and again
 *   different  each with one of 5000 paths, and a request id and a trace header of its own
 *   grpc       unary calls with a message of SIZE bytes, answered with as many and trailers
 *   download   GETs of 1 GiB on one stream; the unit is a byte
 *   upload     PUTs of 1 GiB on one stream; the unit is a byte
 *   paced      as get, on the connections in turn, RATE in a second, however long the answers take; latency is from when one was due
 *   once       a GET on each connection before the program is ready, and nothing after
 *   open       32 PUTs on each connection before the program is ready, of whose bodies nothing ever comes
 *
 * It compresses heads as nghttp2 does: everything goes into the table but paths and lengths, and Huffman where that is shorter.
 * Prints and waits as load.c does. A stream that is reset or has no 200 ends the program with status 1.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define PROGRAM "http2_load"
#include "latencies.h"
#include "pace.h"

enum { STREAMS = 32, SLOTS = 1024, PATHS = 5000, READ = 256 * 1024, OUT = 64 * 1024, FRAME = 16384, TABLE = 4096, ENTRIES = 128 };
enum { DATA, HEADERS, RST_STREAM = 3, SETTINGS, PING = 6, GOAWAY, WINDOW_UPDATE };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, PATIENCE = 120 };
#define GIB (1ull << 30)
#define WINDOW (1 << 30)

struct entry { char name[24], value[104]; };
struct connection {
    int fd, open, filled, table_first, table_count, table_size;
    uint32_t next_id, consumed;
    int64_t window, stream_window, initial_window, to_send; /* of what we send */
    uint64_t started[SLOTS]; /* by number of the stream: answers come in any order */
    struct entry table[ENTRIES]; /* HPACK's, the newest one last */
    unsigned char in[READ + FRAME + 64];
};

static char mode;
static int port, connections, running, loop, busy, events_seen, turn;
static uint64_t size, units, serial;
static unsigned char zeros[FRAME];
static struct connection *all;

/* HPACK. The Huffman code is canonical, and heads have no characters beyond these. */

static uint32_t code[128];
static int code_bits[128];

static void make_codes(void)
{
    static const char *by_length[] = {[5] = "012aceiost", [6] = " %-./3456789=A_bdfghlmnpru",
                                      [7] = ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz", [8] = "&*,;XZ", [10] = "!\"()?", [11] = "'+|"};
    uint32_t next = 0;
    for (int bits = 1; bits < 12; bits++, next <<= 1)
        for (const char *c = by_length[bits]; c && *c; c++) {
            code[(int)*c] = next++;
            code_bits[(int)*c] = bits;
        }
}

static unsigned char *put_integer(unsigned char *out, int first, int prefix, unsigned value)
{
    unsigned most = (1u << prefix) - 1;
    if (value < most) {
        *out++ = first | value;
        return out;
    }
    *out++ = first | most;
    for (value -= most; value >= 128; value >>= 7)
        *out++ = value | 128;
    *out++ = value;
    return out;
}

static unsigned char *put_string(unsigned char *out, const char *text)
{
    size_t length = strlen(text);
    unsigned bits = 0;
    for (const char *c = text; *c; c++)
        bits += code_bits[(int)*c];
    if ((bits + 7) / 8 >= length)
        return (unsigned char *)mempcpy(put_integer(out, 0, 7, length), text, length);
    out = put_integer(out, 128, 7, (bits + 7) / 8);
    uint64_t pending = 0;
    int count = 0;
    for (const char *c = text; *c; c++) {
        pending = pending << code_bits[(int)*c] | code[(int)*c];
        for (count += code_bits[(int)*c]; count >= 8; count -= 8)
            *out++ = pending >> (count - 8);
    }
    if (count)
        *out++ = pending << (8 - count) | 0xff >> count;
    return out;
}

static struct entry *entry_at(struct connection *c, int i)
{
    return &c->table[(c->table_first + i) % ENTRIES];
}

static int entry_size(const struct entry *e)
{
    return strlen(e->name) + strlen(e->value) + 32;
}

/* ``known`` is the index of the name in the static table, or 0. */
static unsigned char *put_field(struct connection *c, unsigned char *out, int known, const char *name, const char *value, int indexed)
{
    for (int i = c->table_count - 1; i >= 0; i--) {
        struct entry *e = entry_at(c, i);
        if (strcmp(e->name, name))
            continue;
        if (!strcmp(e->value, value))
            return put_integer(out, 128, 7, 61 + c->table_count - i);
        if (!known)
            known = 61 + c->table_count - i;
    }
    out = indexed ? put_integer(out, 64, 6, known) : put_integer(out, 0, 4, known);
    if (!known)
        out = put_string(out, name);
    if (indexed) {
        struct entry *e = entry_at(c, c->table_count++);
        strcpy(e->name, name);
        strcpy(e->value, value);
        for (c->table_size += entry_size(e); c->table_size > TABLE; c->table_count--, c->table_first++)
            c->table_size -= entry_size(entry_at(c, 0));
    }
    return put_string(out, value);
}

/* Frames. */

static unsigned char *put_head(unsigned char *out, uint32_t length, int type, int flags, uint32_t stream)
{
    unsigned char head[9] = {length >> 16, length >> 8, length, type, flags, stream >> 24, stream >> 16, stream >> 8, stream};
    return (unsigned char *)mempcpy(out, head, 9);
}

static unsigned char *put_update(unsigned char *out, uint32_t stream, uint32_t increment)
{
    uint32_t value = htonl(increment);
    return (unsigned char *)mempcpy(put_head(out, 4, WINDOW_UPDATE, 0, stream), &value, 4);
}

static void send_all(struct connection *c, const unsigned char *data, size_t length)
{
    while (length) {
        ssize_t sent = send(c->fd, data, length, MSG_NOSIGNAL);
        if (sent <= 0)
            die("cannot send: %s", strerror(errno));
        data += sent;
        length -= sent;
    }
}

static unsigned char *put_request(struct connection *c, unsigned char *out)
{
    unsigned char block[2048], *at = block;
    char text[128];
    unsigned long n = ++serial;
    int post = mode == 'g', put = mode == 'u' || mode == 'o';
    if (post || put)
        at = put ? put_field(c, at, 2, ":method", "PUT", 1) : (*at = 0x83, at + 1);
    else
        *at++ = 0x82;
    *at++ = 0x86;
    at = put_field(c, at, 1, ":authority", "bench.test", 1);
    if (mode == 'd')
        sprintf(text, "/%lu/path/%lu?query=%lu", size, n % PATHS, n % PATHS * 7);
    else
        sprintf(text, post ? "/bench.Service/Unary" : "/%llu/path", mode == 'b' ? GIB : put ? 0 : (unsigned long long)size);
    at = put_field(c, at, 4, ":path", text, 0);
    at = put_field(c, at, 58, "user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36", 1);
    if (post) {
        at = put_field(c, at, 31, "content-type", "application/grpc", 1);
        at = put_field(c, at, 0, "te", "trailers", 1);
    } else {
        at = put_field(c, at, 19, "accept", "text/html,application/xhtml+xml", 1);
        *at++ = 0x90;
        at = put_field(c, at, 17, "accept-language", "en", 1);
        at = put_field(c, at, 32, "cookie", "session=0123456789abcdef0123456789abcdef", 1);
    }
    if (mode == 'u')
        at = put_field(c, at, 28, "content-length", "1073741824", 0);
    if (mode == 'd') {
        sprintf(text, "%032lx", n);
        at = put_field(c, at, 0, "x-request-id", text, 1);
        sprintf(text, "00-%016lx%016lx-00f067aa0ba902b7-01", n * 0x9e3779b97f4a7c15, n);
        at = put_field(c, at, 0, "traceparent", text, 1);
    }
    uint32_t id = c->next_id;
    c->next_id += 2;
    out = put_head(out, at - block, HEADERS, END_HEADERS | (post || put ? 0 : END_STREAM), id);
    out = mempcpy(out, block, at - block);
    if (post) {
        uint32_t length = htonl(size);
        out = put_head(out, size + 5, DATA, END_STREAM, id);
        *out++ = 0;
        out = mempcpy(out, &length, 4);
        out = mempcpy(out, zeros, size);
    }
    c->started[id / 2 % SLOTS] = now();
    c->open++;
    c->to_send = mode == 'u' ? (int64_t)GIB : 0;
    c->stream_window = c->initial_window;
    return out;
}

static int most(void)
{
    return mode == 'b' || mode == 'u' || mode == 'a' ? 1 : STREAMS;
}

static void fill(struct connection *c)
{
    static unsigned char out[OUT];
    unsigned char *at = out;
    while (running && mode != 'p' && c->open < most() && at - out < OUT / 2)
        at = put_request(c, at);
    if (at > out)
        send_all(c, out, at - out);
}

/* The next one with room for a stream; NULL: there is none. */
static struct connection *next_in_turn(void)
{
    for (int tried = 0; tried < connections; tried++) {
        struct connection *c = &all[turn];
        turn = (turn + 1) % connections;
        if (c->open < STREAMS)
            return c;
    }
    return NULL;
}

/* Send what is due; returns whether something is left, for which no stream is free. */
static int send_due(void)
{
    static unsigned char out[OUT];
    while (is_due()) {
        struct connection *c = next_in_turn();
        if (!c)
            return 1;
        send_all(c, out, put_request(c, out) - out);
        c->started[(c->next_id - 2) / 2 % SLOTS] = take_due();
    }
    return 0;
}

static void send_body(struct connection *c)
{
    while (c->to_send > 0 && c->window > 0 && c->stream_window > 0) {
        int64_t part = FRAME;
        part = part < c->to_send ? part : c->to_send;
        part = part < c->window ? part : c->window;
        part = part < c->stream_window ? part : c->stream_window;
        unsigned char head[9];
        put_head(head, part, DATA, part == c->to_send ? END_STREAM : 0, c->next_id - 2);
        send_all(c, head, 9);
        send_all(c, zeros, part);
        c->to_send -= part;
        c->window -= part;
        c->stream_window -= part;
        units += part;
    }
}

static void answered(struct connection *c, uint32_t stream)
{
    if (mode != 'b' && mode != 'u') {
        units++;
        record(now() - c->started[stream / 2 % SLOTS]);
    }
    c->open--;
}

static void settings(struct connection *c, const unsigned char *at, uint32_t length)
{
    for (uint32_t i = 0; i + 6 <= length; i += 6)
        if (at[i + 1] == 4) {
            uint32_t value;
            memcpy(&value, at + i + 2, 4);
            c->stream_window += ntohl(value) - c->initial_window;
            c->initial_window = ntohl(value);
        }
    unsigned char ack[9];
    put_head(ack, 0, SETTINGS, ACK, 0);
    send_all(c, ack, 9);
}

static void take_frame(struct connection *c, const unsigned char *head, uint32_t length)
{
    int type = head[3], flags = head[4];
    uint32_t stream = (head[5] & 127) << 24 | head[6] << 16 | head[7] << 8 | head[8], value = 0;
    const unsigned char *payload = head + 9;
    if (length >= 4)
        memcpy(&value, payload, 4);
    if (type == RST_STREAM || type == GOAWAY)
        die("%s, code %d", type == GOAWAY ? "GOAWAY" : "a stream was reset", payload[type == GOAWAY ? 7 : 3]);
    if (type == SETTINGS && !(flags & ACK))
        settings(c, payload, length);
    if (type == PING && !(flags & ACK)) {
        unsigned char answer[17];
        put_head(answer, 8, PING, ACK, 0);
        memcpy(answer + 9, payload, 8);
        send_all(c, answer, sizeof answer);
    }
    if (type == WINDOW_UPDATE)
        *(stream ? &c->stream_window : &c->window) += ntohl(value);
    if (type == DATA) {
        c->consumed += length;
        if (mode == 'b')
            units += length;
        if (c->consumed >= WINDOW / 4) {
            unsigned char updates[26];
            put_update(put_update(updates, 0, c->consumed), stream, c->consumed);
            send_all(c, updates, flags & END_STREAM || mode != 'b' ? 13 : 26);
            c->consumed = 0;
        }
    }
    if ((type == DATA || type == HEADERS) && flags & END_STREAM)
        answered(c, stream);
}

static void receive(struct connection *c)
{
    ssize_t count = recv(c->fd, c->in + c->filled, READ, MSG_DONTWAIT);
    if (count < 0 && errno == EAGAIN)
        return;
    if (count <= 0)
        die("a connection was closed");
    c->filled += count;
    int at = 0;
    while (c->filled - at >= 9) {
        uint32_t length = c->in[at] << 16 | c->in[at + 1] << 8 | c->in[at + 2];
        if (c->filled - at < (int)length + 9)
            break;
        take_frame(c, c->in + at, length);
        at += length + 9;
    }
    c->filled -= at;
    memmove(c->in, c->in + at, c->filled);
    if (c->open <= most() / 2)
        fill(c);
    send_body(c);
}

static void step(void)
{
    struct epoll_event events[64];
    struct timespec wait = until_due(mode != 'p' || !running || send_due());
    int count = epoll_pwait2(loop, events, 64, &wait, NULL);
    events_seen = count;
    for (int i = 0; i < count; i++)
        receive(events[i].data.ptr);
}

static void open_all(void)
{
    static const unsigned char hello[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x0c\4\0\0\0\0\0\0\2\0\0\0\0\0\4\x40\0\0\0\0\0\4\x08\0\0\0\0\0\x3f\xff\0\0";
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    int on = 1;
    for (int i = 0; i < connections; i++) {
        struct connection *c = &all[i];
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        c->fd = socket(AF_INET, SOCK_STREAM, 0);
        c->next_id = 1;
        c->window = c->initial_window = 65535;
        if (connect(c->fd, (struct sockaddr *)&address, sizeof address))
            die("cannot connect: %s", strerror(errno));
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        send_all(c, hello, sizeof hello - 1);
        if (epoll_ctl(loop, EPOLL_CTL_ADD, c->fd, &event))
            die("cannot watch: %s", strerror(errno));
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
    for (int i = 0; i < connections; i++)
        fill(&all[i]);
    while (now() < end || (mode == 'p' && !all_are_sent()))
        step();
    if (most() > 1) {
        running = 0;
        for (busy = 1; busy;) {
            busy = 0;
            for (int i = 0; i < connections; i++)
                busy += all[i].open;
            if (busy)
                step();
        }
    }
    return (now() - start) / 1e9;
}

/* One GET on each connection, or streams that stay open: until all that comes of it has come. */
static void begin(void)
{
    running = 1;
    for (int i = 0; i < connections; i++) {
        fill(&all[i]);
        running = mode == 'o';
        for (step(); mode == 'a' && all[i].open;)
            step();
        running = 1;
    }
    running = 0;
    for (int quiet = 0; quiet < 5; quiet = events_seen ? 0 : quiet + 1)
        step();
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
    static const char *names[] = {"get", "different", "grpc", "download", "upload", "paced", "once", "open"};
    for (int i = 0; i < 8; i++)
        if (!strcmp(name, names[i]))
            return "sdgbupao"[i];
    die("unknown mode %s", name);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 7)
        die("usage: http2_load MODE PORT CONNECTIONS SIZE WARMUP SECONDS [RATE]");
    mode = mode_of(argv[1]);
    port = atoi(argv[2]);
    connections = atoi(argv[3]);
    size = strtoull(argv[4], NULL, 10);
    double warmup = atof(argv[5]), seconds = atof(argv[6]);
    interval = argc > 7 ? 1e9 / atof(argv[7]) : 1000000;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    alarm(PATIENCE + warmup + seconds);
    make_codes();
    loop = epoll_create1(0);
    all = calloc(connections, sizeof *all);
    open_all();
    if (mode == 'a' || mode == 'o')
        begin();
    else if (warmup > 0)
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
