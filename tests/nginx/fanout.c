/* One publisher and many subscribers of /live, on one thread.
 * usage: fanout PORT SUBSCRIBERS SLOW BYTES SECONDS RATE
 *
 * SLOW of the subscribers read 4 KiB every 50 ms. Chunk k of BYTES begins with the number k, and all
 * bytes of it follow from k: what a subscriber gets is compared byte by byte. A fast one must get
 * chunks 0, 1, 2 ... to the last; of a slow one each must be whole, and k rise. At most RATE chunks
 * a second are published, each when all fast ones have the 16th before it, so that a loaded
 * machine makes nobody slow that should be fast. At the end /close; all must then see the end.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define KEPT   512 /* chunks that are kept to compare with */
#define AHEAD  16
#define SLOWLY 4096
#define NAP    0.05

enum state { HEAD, SIZE, DATA, BREAK, END };

typedef struct reader {
    int fd;
    bool slow, open;
    enum state state;
    size_t matched;   /* of what ends the head or the size's line */
    size_t left;      /* bytes of the HTTP chunk */
    uint8_t first[8]; /* of a chunk: its number */
    uint64_t chunk, chunks, missed;
    size_t at; /* in the chunk */
    double next;
} reader;

static size_t bytes;
static uint8_t *kept[KEPT];
static uint64_t kept_chunk[KEPT];
static reader *readers;
static int reader_count, port;
static uint64_t published;

static void fail(const char *what, uint64_t a, uint64_t b) {
    printf("FAILED: %s (%llu, %llu)\n", what, (unsigned long long)a, (unsigned long long)b);
    exit(1);
}

static double now(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static const uint8_t *chunk_of(uint64_t k) {
    size_t slot = (size_t)(k % KEPT);
    if (kept[slot] == NULL) {
        kept[slot] = malloc(bytes);
        if (kept[slot] == NULL) fail("no memory", 0, 0);
        kept_chunk[slot] = UINT64_MAX;
    }
    if (kept_chunk[slot] != k) {
        uint64_t x = k * 0x9e3779b97f4a7c15u + 1;
        for (size_t i = 0; i + 8 <= bytes; i += 8) {
            x = x * 6364136223846793005u + 1442695040888963407u;
            memcpy(kept[slot] + i, &x, 8);
        }
        memcpy(kept[slot], &k, 8);
        kept_chunk[slot] = k;
    }
    return kept[slot];
}

static int dial(bool small) {
    int fd = socket(AF_INET, SOCK_STREAM, 0), size = SLOWLY;
    if (small) (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
        fail("connect", (uint64_t)errno, 0);
    }
    return fd;
}

static void write_all(int fd, const void *data, size_t n) {
    for (const char *p = data; n > 0;) {
        ssize_t count = write(fd, p, n);
        if (count <= 0) fail("write", (uint64_t)errno, n);
        p += count;
        n -= (size_t)count;
    }
}

/* ---- what subscribers read ------------------------------------------------------ */

static void begin_chunk(reader *r) {
    uint64_t k;
    memcpy(&k, r->first, 8);
    uint64_t want = r->chunks + r->missed;
    if (k < want || (!r->slow && k != want)) fail("chunk out of order: is, expected", k, want);
    r->missed += k - want;
    r->chunk = k;
}

static void take(reader *r, const uint8_t *p, size_t n) {
    while (n > 0) {
        size_t part = (r->at < 8 ? 8 : bytes) - r->at;
        part = part < n ? part : n;
        if (r->at < 8) {
            memcpy(r->first + r->at, p, part);
            if (r->at + part == 8) begin_chunk(r);
        } else if (memcmp(p, chunk_of(r->chunk) + r->at, part) != 0) {
            fail("other bytes in chunk, at", r->chunk, r->at);
        }
        r->at += part;
        if (r->at == bytes) {
            r->at = 0;
            r->chunks++;
        }
        p += part;
        n -= part;
    }
}

static void size_digit(reader *r, uint8_t c) {
    if (c == '\n') {
        r->state = r->left > 0 ? DATA : END;
    } else if (c != '\r') {
        int digit = c <= '9' ? c - '0' : (c | 32) - 'a' + 10;
        if (digit < 0 || digit > 15) fail("a size of an HTTP chunk", c, 0);
        r->left = r->left * 16 + (size_t)digit;
    }
}

static void parse(reader *r, const uint8_t *p, size_t n) {
    static const char head_end[] = "\r\n\r\n";
    for (size_t part; n > 0; p += part, n -= part) {
        part = 1;
        switch (r->state) {
        case HEAD:
            r->matched = *p == head_end[r->matched] ? r->matched + 1 : *p == '\r';
            if (r->matched == 4) r->state = SIZE;
            break;
        case SIZE:
            size_digit(r, *p);
            break;
        case DATA:
            part = r->left < n ? r->left : n;
            take(r, p, part);
            r->left -= part;
            if (r->left == 0) r->state = BREAK;
            break;
        case BREAK:
            if (*p == '\n') r->state = SIZE;
            break;
        case END:
            part = n;
            break;
        }
    }
}

/* Whether there was anything. */
static bool read_some(reader *r, size_t most) {
    static uint8_t room[262144];
    ssize_t n = read(r->fd, room, most < sizeof room ? most : sizeof room);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (n <= 0) fail("a subscriber's connection ended", (uint64_t)(n < 0 ? errno : 0), r->chunks);
    parse(r, room, (size_t)n);
    if (r->state == END) {
        r->open = false;
        (void)close(r->fd);
    }
    return true;
}

/* ---- the publisher -------------------------------------------------------------- */

static int publisher;
static size_t peak_queued, peak_in_use;

/* What the answer says; NULL while it is not all there. */
static char *answer(void) {
    static char text[4096];
    static size_t length;
    ssize_t n = recv(publisher, text + length, sizeof text - 1 - length, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN)) fail("the publisher's connection ended", 0, 0);
    length += n > 0 ? (size_t)n : 0;
    text[length] = '\0';
    if (strstr(text, "\r\n0\r\n\r\n") == NULL) return NULL;
    if (strncmp(text, "HTTP/1.1 200", 12) != 0) fail("publish was refused", published, 0);
    length = 0;
    return text;
}

static void post(const char *path, const void *body, size_t n) {
    char head[200];
    int count = snprintf(head, sizeof head,
                         "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", path, n);
    write_all(publisher, head, (size_t)count);
    write_all(publisher, body, n);
}

static void note(const char *text) {
    const char *queued = strstr(text, " queued="), *in_use = strstr(text, " in_use_bytes=");
    size_t q = queued != NULL ? strtoul(queued + 8, NULL, 10) : 0;
    size_t u = in_use != NULL ? strtoul(in_use + 14, NULL, 10) : 0;
    if (queued == NULL || in_use == NULL) fail("an answer without figures", 0, 0);
    if (q > peak_queued) peak_queued = q;
    if (u > peak_in_use) peak_in_use = u;
}

static uint64_t least_of_fast(void) {
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < reader_count; i++) {
        if (!readers[i].slow && readers[i].chunks < least) least = readers[i].chunks;
    }
    return least;
}

/* ---- the loop ------------------------------------------------------------------- */

static int poll_fd;

static void subscribe(int slow) {
    for (int i = 0; i < reader_count; i++) {
        reader *r = &readers[i];
        r->slow = i < slow;
        r->open = true;
        r->fd = dial(r->slow);
        static const char get[] = "GET /live HTTP/1.1\r\nHost: x\r\n\r\n";
        write_all(r->fd, get, sizeof get - 1);
        while (r->state == HEAD) (void)read_some(r, 1);
        (void)fcntl(r->fd, F_SETFL, O_NONBLOCK);
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = r};
        if (!r->slow) (void)epoll_ctl(poll_fd, EPOLL_CTL_ADD, r->fd, &e);
    }
}

/* How many are open still. */
static int read_all(bool hurry) {
    struct epoll_event events[64];
    int n = epoll_wait(poll_fd, events, 64, 2), open = 0;
    double t = now();
    for (int i = 0; i < n; i++) {
        reader *r = events[i].data.ptr;
        if (r->open) (void)read_some(r, SIZE_MAX);
    }
    for (int i = 0; i < reader_count; i++) {
        reader *r = &readers[i];
        if (r->slow && r->open && (hurry || t >= r->next)) {
            (void)read_some(r, hurry ? SIZE_MAX : SLOWLY);
            r->next = t + NAP;
        }
        open += r->open;
    }
    return open;
}

static void publish_for(double seconds, double rate) {
    double begun = now(), due = begun;
    bool waiting = false;
    while (waiting || now() < begun + seconds) {
        (void)read_all(false);
        const char *text = waiting ? answer() : NULL;
        if (text != NULL) {
            note(text);
            waiting = false;
        }
        if (!waiting && now() >= due && now() < begun + seconds &&
            least_of_fast() + AHEAD > published) {
            post("/publish", chunk_of(published), bytes);
            published++;
            waiting = true;
            due += 1 / rate;
        }
    }
}

int main(int argc, char **argv) {
    if (argc != 7) return 2;
    port = atoi(argv[1]);
    reader_count = atoi(argv[2]);
    bytes = strtoul(argv[4], NULL, 10) & ~(size_t)7;
    readers = calloc((size_t)reader_count, sizeof *readers);
    poll_fd = epoll_create1(0);
    if (readers == NULL || poll_fd < 0) fail("no memory", 0, 0);
    subscribe(atoi(argv[3]));
    publisher = dial(false);
    publish_for(atof(argv[5]), atof(argv[6]));
    post("/close", "", 0);
    double give_up = now() + 60;
    while (read_all(true) > 0) {
        if (now() > give_up) fail("subscribers that did not see the end", 0, 0);
    }
    uint64_t missed = 0, slow_chunks = 0;
    for (int i = 0; i < reader_count; i++) {
        reader *r = &readers[i];
        if (r->at != 0) fail("a chunk was cut, of subscriber", (uint64_t)i, r->at);
        if (!r->slow && r->chunks != published) fail("chunks are missing", r->chunks, published);
        missed += r->missed;
        slow_chunks += r->slow ? r->chunks : 0;
    }
    printf("published=%llu missed=%llu slow_chunks=%llu peak_queued=%zu peak_in_use_bytes=%zu\n",
           (unsigned long long)published, (unsigned long long)missed,
           (unsigned long long)slow_chunks, peak_queued, peak_in_use);
    return 0;
}
