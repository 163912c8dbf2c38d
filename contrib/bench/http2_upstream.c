/* The upstream of the HTTP/2 cases, which speaks it: every request is answered with SIZE bytes, one with a body as gRPC does, with a
 * message and trailers. One epoll loop.
 *
 *   http2_upstream [SIZE]
 *
 * It reads what proxies send it and no more: no head is decompressed, no window is minded, for both ends' are large. It compresses
 * heads as most servers do: the second one on a connection consists of indices. Prints its port; ends when the process that
 * started it does.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 64, READ = 256 * 1024, BACKLOG = 4096, MAX_FD = 1 << 16, PREFACE = 24, MOST_SIZE = 16384 };
enum { DATA, HEADERS, SETTINGS = 4, PING = 6, END_STREAM = 1, ACK = 1, END_HEADERS = 4, UPDATE_AFTER = 1 << 20 };

struct connection {
    int filled, greeted, answered, received;
    unsigned char in[READ + 32 * 1024];
};

static struct connection *connections[MAX_FD];
static unsigned char body[5 + MOST_SIZE], *out;
static uint32_t size = 100;
static int loop, out_size;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void put(const void *data, int length)
{
    memcpy(out + out_size, data, length);
    out_size += length;
}

static void put_head(uint32_t length, int type, int flags, uint32_t stream)
{
    unsigned char head[9] = {length >> 16, length >> 8, length, type, flags, stream >> 24, stream >> 16, stream >> 8, stream};
    put(head, 9);
}

static void put_headers(uint32_t stream, int flags, const char *block, int length)
{
    put_head(length, HEADERS, END_HEADERS | flags, stream);
    put(block, length);
}

static void answer(struct connection *c, uint32_t stream, int grpc)
{
    static const char first[] = "\x88\x76\x05" "bench" "\x61\x1d" "Mon, 01 Jan 2024 00:00:00 GMT" "\x5f\x0a" "text/plain";
    static const char first_grpc[] = "\x88\x76\x05" "bench" "\x61\x1d" "Mon, 01 Jan 2024 00:00:00 GMT" "\x5f\x10" "application/grpc";
    static const char again[] = "\x88\xc0\xbf\xbe", again_grpc[] = "\x88\xc1\xc0\xbf";
    static const char trailers[] = "\x40\x0b" "grpc-status" "\x01" "0";
    char block[128];
    int length = 0, fresh = !c->answered++;
    if (grpc) {
        length = fresh ? sizeof first_grpc - 1 : sizeof again_grpc - 1;
        put_headers(stream, 0, fresh ? first_grpc : again_grpc, length);
        put_head(5 + size, DATA, 0, stream);
        put(body, 5 + size);
        put_headers(stream, END_STREAM, fresh ? trailers : "\xbe", fresh ? sizeof trailers - 1 : 1);
        return;
    }
    length = fresh ? sizeof first - 1 : sizeof again - 1;
    memcpy(block, fresh ? first : again, length);
    int digits = sprintf(block + length + 3, "%u", size);
    memcpy(block + length, "\x0f\x0d", 2); /* content-length, not indexed */
    block[length + 2] = digits;
    put_headers(stream, 0, block, length + 3 + digits);
    put_head(size, DATA, END_STREAM, stream);
    put(body + 5, size);
}

static void take_frame(struct connection *c, const unsigned char *head, uint32_t length)
{
    int type = head[3], flags = head[4];
    uint32_t stream = (head[5] & 127) << 24 | head[6] << 16 | head[7] << 8 | head[8];
    if (type == SETTINGS && !(flags & ACK))
        put_head(0, SETTINGS, ACK, 0);
    if (type == PING && !(flags & ACK)) {
        put_head(8, PING, ACK, 0);
        put(head + 9, 8);
    }
    if (type == DATA && (c->received += length) >= UPDATE_AFTER) {
        uint32_t increment = htonl(c->received);
        put_head(4, 8, 0, 0);
        put(&increment, 4);
        c->received = 0;
    }
    if ((type == HEADERS || type == DATA) && flags & END_STREAM)
        answer(c, stream, type == DATA);
}

static int on_readable(int fd, struct connection *c)
{
    ssize_t count = recv(fd, c->in + c->filled, READ, 0);
    if (count < 0 && errno == EAGAIN)
        return 0;
    if (count <= 0)
        return -1;
    c->filled += count;
    int at = 0;
    out_size = 0;
    if (!c->greeted) {
        static const char hello[] = "\0\0\x0c\4\0\0\0\0\0\0\3\0\0\4\0\0\4\x40\0\0\0\0\0\4\x08\0\0\0\0\0\x3f\xff\0\0";
        if (c->filled < PREFACE)
            return 1;
        put(hello, sizeof hello - 1);
        c->greeted = 1;
        at = PREFACE;
    }
    while (c->filled - at >= 9) {
        uint32_t length = c->in[at] << 16 | c->in[at + 1] << 8 | c->in[at + 2];
        if (c->filled - at < (int)length + 9)
            break;
        take_frame(c, c->in + at, length);
        at += length + 9;
    }
    c->filled -= at;
    memmove(c->in, c->in + at, c->filled);
    for (int sent = 0; sent < out_size;) {
        ssize_t part = send(fd, out + sent, out_size - sent, MSG_NOSIGNAL);
        if (part < 0 && errno != EAGAIN)
            return -1;
        sent += part > 0 ? part : 0;
    }
    return 1;
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    struct epoll_event events[EVENTS];
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), fd, on = 1;
    if (argc > 1 && (size = atoi(argv[1])) > MOST_SIZE)
        die("http2_upstream: too many bytes");
    body[4] = size;
    body[3] = size >> 8;
    out = malloc((size_t)READ / 10 * (size + 256));
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    loop = epoll_create1(0);
    if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, BACKLOG))
        die("http2_upstream: listen");
    getsockname(listener, (struct sockaddr *)&address, &length);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(loop, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int count = epoll_wait(loop, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            fd = events[i].data.fd;
            if (fd != listener) {
                if (on_readable(fd, connections[fd]) < 0) {
                    close(fd);
                    free(connections[fd]);
                    connections[fd] = NULL;
                }
                continue;
            }
            while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                if (fd >= MAX_FD || !(connections[fd] = calloc(1, sizeof *connections[fd])))
                    die("http2_upstream: too many connections");
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                struct epoll_event watched = {.events = EPOLLIN, .data.fd = fd};
                epoll_ctl(loop, EPOLL_CTL_ADD, fd, &watched);
            }
        }
    }
}
