/* The upstream of every case: one epoll loop that does as little as the kernel allows.
 *
 * The first byte of a connection says what is to be done with it:
 *
 *   e   echo what comes                   c   echo one message, then close first
 *   d   send without end ("down")         u   discard what comes ("up")
 *   b   d and u at once ("both")
 *
 * Prints its port. Ends when the process that started it does.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, CHUNK = 256 * 1024, BACKLOG = 4096, MAX_FD = 1 << 20 };

static char verbs[MAX_FD]; /* by file descriptor; 0 until the first byte */
static char chunk[CHUNK];
static int loop;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int listen_anywhere(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) || listen(fd, BACKLOG))
        die("upstream: listen");
    getsockname(fd, (struct sockaddr *)&address, &length);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static void watch(int fd, int operation, unsigned events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(loop, operation, fd, &event))
        die("upstream: epoll_ctl");
}

static void accept_all(int listener)
{
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= MAX_FD) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        verbs[fd] = 0;
        watch(fd, EPOLL_CTL_ADD, EPOLLIN);
    }
    if (errno != EAGAIN && errno != ECONNABORTED)
        die("upstream: accept");
}

static void on_readable(int fd)
{
    char verb = verbs[fd];
    int discards = verb == 'u' || verb == 'b';
    ssize_t size = recv(fd, chunk, sizeof chunk, discards ? MSG_TRUNC : 0);
    if (size <= 0) {
        if (size == 0 || errno != EAGAIN)
            close(fd);
        return;
    }
    if (!verb) {
        verb = verbs[fd] = chunk[0];
        if (verb == 'd' || verb == 'b')
            watch(fd, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    }
    /* A message is far smaller than a socket's buffer: a short send means that the client is gone. */
    if ((verb == 'e' || verb == 'c') && send(fd, chunk, size, MSG_NOSIGNAL) != size)
        close(fd);
    else if (verb == 'c')
        shutdown(fd, SHUT_WR);
}

static void on_writable(int fd)
{
    static char payload[CHUNK];
    if (send(fd, payload, sizeof payload, MSG_NOSIGNAL) < 0 && errno != EAGAIN)
        close(fd);
}

int main(void)
{
    struct epoll_event events[EVENTS];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    loop = epoll_create1(0);
    int listener = listen_anywhere();
    watch(listener, EPOLL_CTL_ADD, EPOLLIN);
    for (;;) {
        int count = epoll_wait(loop, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                accept_all(fd);
            else if (events[i].events & ~EPOLLOUT)
                on_readable(fd);
            else
                on_writable(fd);
        }
    }
}
