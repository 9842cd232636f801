/* A connection of the load generator: TLS, one request at a time, the answer read by the
 * strict codec of lib/net. */
#include "load.h"

#include "base/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool
broken(struct link *l, const char *why)
{
    l->state = LINK_BROKEN;
    l->why = why;
    return false;
}

bool
link_open(struct link *l, const struct load_options *o, SSL_CTX *tls)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(o->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;

    *l = (struct link){.state = LINK_HANDSHAKE, .fd = -1};
    l->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (l->fd < 0 || connect(l->fd, (struct sockaddr *)&to, sizeof(to)) != 0)
        return broken(l, "connect failed");
    if (fcntl(l->fd, F_SETFL, O_NONBLOCK) != 0 ||
        setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0)
        return broken(l, "socket options");
    l->out = malloc(LOAD_HEAD_MAX + o->body_len);
    l->in = malloc(LOAD_ANSWER_MAX);
    l->ssl = SSL_new(tls);
    if (l->out == NULL || l->in == NULL || l->ssl == NULL || SSL_set_fd(l->ssl, l->fd) != 1 ||
        SSL_set_tlsext_host_name(l->ssl, "localhost") != 1)
        return broken(l, "no memory");
    memcpy(l->out + LOAD_HEAD_MAX, o->body, o->body_len);
    SSL_set_connect_state(l->ssl);
    return true;
}

void
link_close(struct link *l)
{
    SSL_free(l->ssl);
    if (l->fd >= 0)
        (void)close(l->fd);
    free(l->out);
    free(l->in);
    *l = (struct link){.state = LINK_BROKEN, .fd = -1, .why = "closed"};
}

void
link_send(struct link *l, const struct load_options *o, struct slice token, struct slice address,
          uint64_t due_ns)
{
    uint8_t storage[LOAD_HEAD_MAX];
    struct text head;

    text_init(&head, storage, sizeof(storage));
    h1_write_request_line(&head, HTTP_POST, slice_str(o->path));
    text_add_str(&head, "Host: localhost:");
    text_add_u64(&head, o->port);
    text_add_str(&head, "\r\nContent-Type: application/json\r\n");
    if (token.len > 0) {
        text_add_str(&head, "Authorization: Bearer ");
        text_add(&head, token);
        text_add_str(&head, "\r\n");
    }
    if (address.len > 0)
        h1_write_field(&head, SLICE_LIT("X-Forwarded-For"), address);
    h1_write_field_u64(&head, SLICE_LIT("Content-Length"), o->body_len);
    h1_write_end(&head);
    if (!text_ok(&head)) {
        (void)broken(l, "the request's head does not fit");
        return;
    }
    /* Right before the body, so that both leave in one write. */
    l->out_at = LOAD_HEAD_MAX - head.used;
    l->out_end = LOAD_HEAD_MAX + o->body_len;
    memcpy(l->out + l->out_at, storage, head.used);
    l->due_ns = due_ns;
    l->in_body = false;
    h1_parser_init(&l->parser, H1_RESPONSE);
    l->state = LINK_SENDING;
}

/* Whether the session only has to wait; anything else breaks the link. */
static bool
waits(struct link *l, int result, const char *why)
{
    int e = SSL_get_error(l->ssl, result);

    l->wants_write = e == SSL_ERROR_WANT_WRITE;
    if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE)
        return true;
    return broken(l, why);
}

static bool
send_on(struct link *l)
{
    while (l->out_at < l->out_end) {
        size_t n = 0;
        int r = SSL_write_ex(l->ssl, l->out + l->out_at, l->out_end - l->out_at, &n);

        if (r != 1)
            return waits(l, r, "writing failed") && false;
        l->out_at += n;
    }
    l->state = LINK_READING;
    return true;
}

/* Takes what arrived: true when the answer is complete. */
static bool
take(struct link *l)
{
    struct slice left = slice_of(l->in, l->in_len);
    bool done = false;

    if (!l->in_body) {
        struct h1_head head;
        size_t head_len = 0;
        enum err e = h1_parse_head(&l->parser, left, &head, &head_len);

        if (e == ERR_AGAIN)
            return l->in_len < LOAD_ANSWER_MAX ? false : broken(l, "the answer's head is too long");
        if (e != ERR_OK)
            return broken(l, "malformed answer");
        l->status = head.http.status;
        h1_body_init(&l->body, head.framing, head.content_length);
        l->in_body = true;
        left = slice_sub(left, head_len, left.len);
    }
    while (!(done = l->body.done) && left.len > 0) {
        struct slice content;
        size_t used = 0;
        enum err e = h1_body_read(&l->body, left, &content, &used);

        if (e == ERR_BADMSG)
            return broken(l, "malformed body of an answer");
        left = slice_sub(left, used, left.len);
        if (e == ERR_AGAIN)
            break;
    }
    if (done && left.len > 0)
        return broken(l, "bytes behind the answer");
    memmove(l->in, left.p, left.len);
    l->in_len = left.len;
    return done;
}

static bool
read_on(struct link *l)
{
    for (;;) {
        size_t n = 0;
        int r = SSL_read_ex(l->ssl, l->in + l->in_len, LOAD_ANSWER_MAX - l->in_len, &n);

        if (r != 1)
            return waits(l, r, "the connection ended") && false;
        l->in_len += n;
        if (l->state == LINK_IDLE)
            return broken(l, "bytes without a request");
        if (take(l)) {
            l->state = LINK_IDLE;
            return true;
        }
        if (l->state == LINK_BROKEN)
            return false;
    }
}

bool
link_step(struct link *l)
{
    l->wants_write = false;
    if (l->state == LINK_HANDSHAKE) {
        int r = SSL_do_handshake(l->ssl);

        if (r != 1)
            return waits(l, r, "handshake failed") && false;
        l->state = LINK_IDLE;
        return false;
    }
    if (l->state == LINK_BROKEN || (l->state == LINK_SENDING && !send_on(l)))
        return false;
    return read_on(l);
}
