/* The upstream of the HTTP cases: GET /SIZE/... is answered with SIZE bytes, a body is discarded. One epoll loop.
 *
 * It reads what proxies send it and no more: heads of at most 4 KiB, bodies with Content-Length. Prints its port; ends when the
 * process that started it does.
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

enum { EVENTS = 256, CHUNK = 256 * 1024, BACKLOG = 4096, MAX_FD = 1 << 16, HEAD = 4096, JOINED = 64 * 1024 };

struct connection {
    char head[HEAD];
    int filled;
    uint64_t discard, to_send, answer; /* of a body that comes; of one that goes; what to answer behind the body that comes */
};

static struct connection *connections[MAX_FD];
static char chunk[CHUNK], payload[CHUNK];
static int loop;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void watch(int fd, int operation, unsigned events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(loop, operation, fd, &event))
        die("http_upstream: epoll_ctl");
}

static void end(int fd)
{
    close(fd);
    free(connections[fd]);
    connections[fd] = NULL;
}

/* Small answers are a single write, large ones go on when the socket takes more. */
static int pour(int fd, struct connection *c)
{
    while (c->to_send) {
        ssize_t sent = send(fd, payload, c->to_send < CHUNK ? c->to_send : CHUNK, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN)
            return 1;
        if (sent < 0)
            return 0;
        c->to_send -= sent;
    }
    return 1;
}

static int answer(int fd, struct connection *c, uint64_t size)
{
    static char out[JOINED + 256];
    int length = sprintf(out, "HTTP/1.1 200 OK\r\nServer: bench\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n"
                         "Content-Type: text/plain\r\nContent-Length: %lu\r\n\r\n", size);
    if (size <= JOINED) {
        memset(out + length, 'x', size);
        return send(fd, out, length + size, MSG_NOSIGNAL) == (ssize_t)(length + size);
    }
    if (send(fd, out, length, MSG_NOSIGNAL | MSG_MORE) != length)
        return 0;
    c->to_send = size;
    return pour(fd, c);
}

/* Take all whole heads that are there. */
static int requests(int fd, struct connection *c)
{
    char *at = c->head, *last;
    c->head[c->filled] = 0;
    while (!c->discard && (last = strstr(at, "\r\n\r\n"))) {
        last[2] = 0;
        char *path = strchr(at, '/'), *length = strcasestr(at, "\r\ncontent-length:");
        uint64_t size = path ? strtoull(path + 1, NULL, 10) : 0;
        at = last + 4;
        if (length && (c->discard = strtoull(length + 17, NULL, 10))) {
            uint64_t there = c->head + c->filled - at, part = there < c->discard ? there : c->discard;
            c->discard -= part;
            at += part;
            c->answer = size;
            if (c->discard)
                break;
        }
        if (!answer(fd, c, size))
            return 0;
    }
    c->filled -= at - c->head;
    memmove(c->head, at, c->filled);
    return c->filled < HEAD - 1;
}

/* Returns whether there may be more. */
static int on_readable(int fd, struct connection *c)
{
    uint64_t room = c->discard ? (c->discard < CHUNK ? c->discard : CHUNK) : (uint64_t)(HEAD - 1 - c->filled);
    ssize_t count = recv(fd, c->discard ? chunk : c->head + c->filled, room, c->discard ? MSG_TRUNC : 0);
    int sound = count > 0;
    if (count < 0 && errno == EAGAIN)
        return 0;
    if (sound && c->discard) {
        c->discard -= count;
        sound = c->discard || answer(fd, c, c->answer);
    } else if (sound) {
        c->filled += count;
        sound = requests(fd, c);
    }
    if (!sound)
        end(fd);
    return sound && count == (ssize_t)room;
}

int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    struct epoll_event events[EVENTS];
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), fd, on = 1;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    loop = epoll_create1(0);
    if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, BACKLOG))
        die("http_upstream: listen");
    getsockname(listener, (struct sockaddr *)&address, &length);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    watch(listener, EPOLL_CTL_ADD, EPOLLIN);
    for (;;) {
        int count = epoll_wait(loop, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            struct connection *c = connections[events[i].data.fd];
            if (events[i].data.fd != listener) {
                if (c && events[i].events & EPOLLOUT && !pour(events[i].data.fd, c))
                    end(events[i].data.fd);
                else if (c && events[i].events & ~EPOLLOUT)
                    while (on_readable(events[i].data.fd, c))
                        ;
                continue;
            }
            while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                if (fd >= MAX_FD || !(connections[fd] = calloc(1, sizeof *c)))
                    die("http_upstream: too many connections");
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                watch(fd, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT | EPOLLET);
            }
        }
    }
}
