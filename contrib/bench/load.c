/* The client of every case that moves bytes: one epoll loop, no allocation and no printing while it measures.
 *
 *   load MODE PORT CONNECTIONS SIZE|REQUEST WARMUP SECONDS [tls]
 *
 *   ping    each connection sends SIZE bytes, waits for as many, again and again; first all of them are opened, one by one
 *   churn   each connection is opened, exchanges one message of SIZE bytes, is closed by the upstream, and opened again
 *   down, up, both      each connection receives, sends, or does both, in chunks of SIZE, without end
 *   frames  like ping, with the file REQUEST in place of SIZE: each connection sends it, and receives a frame, which begins with its
 *           size in four bytes
 *
 * Runs for WARMUP seconds (0: not at all), prints "ready" and waits for a line; runs for SECONDS, prints one line of JSON and keeps its
 * connections until its input ends, so that whoever started it can look at the proxy before, in between and after.
 * A connection that fails ends the program with status 1: what is measured has no errors in it.
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

#define PROGRAM "load"
#include "latencies.h"
#ifdef TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#else
typedef void SSL;
#endif

enum { EVENTS = 256, CHUNK = 256 * 1024, SOURCES = 8, PATIENCE = 120 };

struct connection {
    int fd;
    int busy; /* an exchange is under way */
    SSL *ssl;
    size_t to_send, to_receive;
    int head_size; /* bytes of a frame's size that have come */
    unsigned char head[4];
    uint64_t started;
};

static char verb; /* what the upstream shall do: see upstream.c */
static int port, connections, running, busy_connections, loop, exchanges;
static size_t size;
static uint64_t units;
static char chunk[CHUNK], received[CHUNK], *payload = chunk;

/* Bytes. put and take return how many went, 0 when none can go now, and take -1 at the end of the stream. */

#ifdef TLS
static SSL_CTX *tls;

/* One version, cipher suite and curve, so that every proxy does the same arithmetic. No resumption: each handshake is whole. */
static void use_tls(void)
{
    tls = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(tls, TLS1_3_VERSION);
    SSL_CTX_set_ciphersuites(tls, "TLS_AES_128_GCM_SHA256");
    SSL_CTX_set1_groups_list(tls, "X25519");
    SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_options(tls, SSL_OP_IGNORE_UNEXPECTED_EOF);
}

static void start_tls(struct connection *c)
{
    if (!tls)
        return;
    c->ssl = SSL_new(tls);
    SSL_set_fd(c->ssl, c->fd);
    SSL_set_connect_state(c->ssl);
}

static void end_tls(struct connection *c)
{
    if (c->ssl) {
        SSL_shutdown(c->ssl);
        SSL_free(c->ssl);
    }
    c->ssl = NULL;
}

static ssize_t tls_result(struct connection *c, int count)
{
    int why = count > 0 ? SSL_ERROR_NONE : SSL_get_error(c->ssl, count);
    if (why == SSL_ERROR_NONE)
        return count;
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
        return 0;
    if (why != SSL_ERROR_ZERO_RETURN)
        die("TLS fails: %s", why == SSL_ERROR_SSL ? ERR_reason_error_string(ERR_peek_error()) : strerror(errno));
    return -1;
}
#else
static void use_tls(void) { die("built without OpenSSL"); }
static void start_tls(struct connection *c) { c->ssl = NULL; }
static void end_tls(struct connection *c) { c->ssl = NULL; }
#endif

static ssize_t put(struct connection *c, size_t count)
{
    const char *from = verb == 'f' ? payload + size - count : payload;
#ifdef TLS
    if (c->ssl)
        return tls_result(c, SSL_write(c->ssl, from, count));
#endif
    ssize_t sent = send(c->fd, from, count, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN)
        die("cannot send: %s", strerror(errno));
    return sent < 0 ? 0 : sent;
}

static ssize_t take(struct connection *c, size_t count, int flags)
{
#ifdef TLS
    if (c->ssl)
        return tls_result(c, SSL_read(c->ssl, received, count));
#endif
    ssize_t got = recv(c->fd, received, count, flags);
    if (got < 0 && errno != EAGAIN)
        die("cannot receive: %s", strerror(errno));
    return got < 0 ? 0 : got > 0 ? got : -1;
}

/* On loopback connect() is over at once. Connections come from several addresses, so that no address runs out of ports. */
static void open_connection(struct connection *c, unsigned events)
{
    static unsigned turn;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + turn++ % SOURCES)};
    struct epoll_event event = {.events = events, .data.ptr = c};
    int on = 1;
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
    start_tls(c);
    if (epoll_ctl(loop, EPOLL_CTL_ADD, c->fd, &event))
        die("cannot watch: %s", strerror(errno));
}

/* ping and churn */

static void send_rest(struct connection *c)
{
    while (c->to_send) {
        ssize_t sent = put(c, c->to_send);
        if (sent == 0)
            return;
        if (sent < 0)
            die("connection closed before its message");
        c->to_send -= sent;
    }
}

static void begin(struct connection *c)
{
    c->started = now();
    c->to_send = c->to_receive = size;
    c->head_size = 0;
    if (!c->busy)
        busy_connections++;
    c->busy = 1;
    if (verb == 'c')
        open_connection(c, EPOLLIN);
    send_rest(c);
}

static void finish(struct connection *c)
{
    units++;
    if (verb == 'c') {
        end_tls(c);
        close(c->fd);
    }
    if (running) {
        begin(c);
    } else {
        c->busy = 0;
        busy_connections--;
    }
}

/* The size of the frame that answers; 0 while it has not come. */
static int read_head(struct connection *c)
{
    while (c->head_size < 4) {
        ssize_t got = take(c, 4 - c->head_size, 0);
        if (got < 0)
            die("connection closed before its answer");
        if (got == 0)
            return 0;
        memcpy(c->head + c->head_size, received, got);
        if ((c->head_size += got) == 4)
            c->to_receive = (size_t)c->head[0] << 24 | c->head[1] << 16 | c->head[2] << 8 | c->head[3];
    }
    return 1;
}

static void exchange(struct connection *c)
{
    if (!c->busy)
        return; /* an edge that came late */
    send_rest(c);
    if (verb == 'f' && !read_head(c))
        return;
    while (c->to_receive) {
        ssize_t got = take(c, c->to_receive < CHUNK ? c->to_receive : CHUNK, 0);
        if (got == 0)
            return;
        if (got < 0)
            die("connection closed before its answer");
        c->to_receive -= got;
        if (c->to_receive == 0)
            record(now() - c->started);
    }
    if (verb != 'c' || take(c, 1, 0) < 0)
        finish(c);
}

/* down, up and both. Counted where this program stands: what socket buffers hold is the same at both ends of a window. */

static void stream(struct connection *c, unsigned events)
{
    ssize_t count = 0;
    if (events & ~EPOLLOUT && (count = take(c, size, MSG_TRUNC)) < 0)
        die("connection closed while it streams");
    units += count;
    if (events & EPOLLOUT && (count = put(c, c->to_send)) > 0) {
        units += count;
        if (verb == 'd') { /* one byte asks for the stream */
            struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
            epoll_ctl(loop, EPOLL_CTL_MOD, c->fd, &event);
        }
    }
}

static void step(void)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(loop, events, EVENTS, 100);
    for (int i = 0; i < count; i++) {
        struct connection *c = events[i].data.ptr;
        if (exchanges)
            exchange(c);
        else
            stream(c, events[i].events);
    }
}

static void open_all(struct connection *all)
{
    for (int i = 0; i < connections && verb != 'c'; i++) {
        all[i].to_send = verb == 'd' ? 1 : size;
        open_connection(&all[i], verb == 'e' ? EPOLLIN : EPOLLIN | EPOLLOUT | (verb == 'f' ? EPOLLET : 0));
        if (exchanges)
            begin(&all[i]);
        while (busy_connections)
            step();
    }
}

static double run(struct connection *all, double seconds)
{
    uint64_t start = now(), end = start + seconds * 1e9;
    memset(histogram, 0, sizeof histogram);
    units = 0;
    running = 1;
    for (int i = 0; i < connections && exchanges; i++)
        begin(&all[i]);
    while (now() < end)
        step();
    running = 0;
    while (busy_connections)
        step();
    return (now() - start) / 1e9;
}

static void wait_for_line(void)
{
    int byte;
    while ((byte = getchar()) != '\n')
        if (byte == EOF)
            exit(0);
}

static char verb_of(const char *name)
{
    static const char *names[] = {"ping", "churn", "down", "up", "both", "frames"};
    for (int i = 0; i < 6; i++)
        if (!strcmp(name, names[i]))
            return "ecdubf"[i];
    die("unknown mode %s", name);
    return 0;
}

static void read_request(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END))
        die("cannot read %s", path);
    size = ftell(file);
    rewind(file);
    payload = malloc(size);
    if (fread(payload, 1, size, file) != size)
        die("cannot read %s", path);
    fclose(file);
}

int main(int argc, char **argv)
{
    if (argc < 7)
        die("usage: load ping|churn|down|up|both|frames PORT CONNECTIONS SIZE|REQUEST WARMUP SECONDS [tls]");
    verb = verb_of(argv[1]);
    port = atoi(argv[2]);
    connections = atoi(argv[3]);
    exchanges = strchr("ecf", verb) != NULL;
    double warmup = atof(argv[5]), seconds = atof(argv[6]);
    memset(chunk, verb, sizeof chunk);
    if (verb == 'f')
        read_request(argv[4]);
    else
        size = atol(argv[4]);
    if (connections < 1 || size < 1 || (size > CHUNK && verb != 'f'))
        die("needs 1 connection or more, and a size from 1 to %d", CHUNK);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    alarm(PATIENCE + warmup + seconds);
    if (argc > 7)
        use_tls();
    loop = epoll_create1(0);
    struct connection *all = calloc(connections, sizeof *all);
    open_all(all);
    if (warmup > 0)
        run(all, warmup);
    printf("ready\n");
    fflush(stdout);
    wait_for_line();
    double elapsed = run(all, seconds);
    printf("{\"units\": %lu, \"seconds\": %.6f, \"p50\": %.2f, \"p99\": %.2f}\n", units, elapsed, quantile_us(0.5),
           quantile_us(0.99));
    fflush(stdout);
    wait_for_line();
}
