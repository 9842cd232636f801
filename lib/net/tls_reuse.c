#include "net/tls_reuse.h"

#include "base/check.h"
#include "base/clock.h"
#include "net/tls_priv.h"

#include <stdlib.h>

struct place {
    struct tls *tls; /* reffed, so that the address can't become another's; NULL: free */
    SSL_SESSION *session;
    int64_t until_s; /* wall time */
};

struct tls_reuse {
    struct place places[TLS_REUSE_PLACES];
};

enum err
tls_reuse_new(struct tls_reuse **out)
{
    *out = calloc(1, sizeof(**out));
    return *out == NULL ? ERR_NOMEM : ERR_OK;
}

static void
empty(struct place *p)
{
    SSL_SESSION_free(p->session);
    p->session = NULL;
    tls_unref(&p->tls);
}

void
tls_reuse_clear(struct tls_reuse *r)
{
    for (size_t i = 0; i < TLS_REUSE_PLACES; i++)
        empty(&r->places[i]);
}

void
tls_reuse_free(struct tls_reuse **r)
{
    if (*r != NULL)
        tls_reuse_clear(*r);
    free(*r);
    *r = NULL;
}

static struct place *
place_of(struct tls_reuse *r, const struct tls *t)
{
    uint64_t h = (uint64_t)(uintptr_t)t * UINT64_C(0x9e3779b97f4a7c15);

    return &r->places[(h >> 32) % TLS_REUSE_PLACES];
}

/* When what the handshake rested on ends. */
static int64_t
end_of(const struct tls *t, SSL *ssl)
{
    int64_t end = clock_wall_ms() / 1000 + TLS_REUSE_MAX_S;
    X509 *peer = SSL_get0_peer_certificate(ssl);
    int64_t until = peer == NULL ? 0 : tls_resume_end_s(X509_get0_notAfter(peer));

    if (t->crl_until_s < end)
        end = t->crl_until_s;
    return until < end ? until : end;
}

/* OpenSSL's contract: 1 takes the reference. */
static int
on_ticket(SSL *ssl, SSL_SESSION *session)
{
    struct tls_reuse *r = SSL_get_app_data(ssl);
    struct tls *t = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    struct place *p;
    int64_t until;

    if (r == NULL || SSL_SESSION_is_resumable(session) != 1)
        return 0;
    p = place_of(r, t);
    /* However often it is renewed, it ends when the first one does. */
    until = SSL_session_reused(ssl) && p->tls == t ? p->until_s : end_of(t, ssl);
    if (SSL_session_reused(ssl) && p->tls != t)
        return 0; /* driven out meanwhile: its end is not known any more */
    empty(p);
    p->tls = tls_ref(t);
    p->session = session;
    p->until_s = until;
    return 1;
}

void
tls_reuse_allow(struct tls *t)
{
    (void)SSL_CTX_set_app_data(t->ctx, t);
    (void)SSL_CTX_set_session_cache_mode(t->ctx,
                                         SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(t->ctx, on_ticket);
}

void
tls_reuse_begin(struct tls_reuse *r, struct tls *t, SSL *ssl)
{
    struct place *p = place_of(r, t);

    if (t->server || t->mesh)
        return;
    (void)SSL_set_app_data(ssl, r);
    if (p->tls != t)
        return;
    if (clock_wall_ms() / 1000 >= p->until_s || SSL_SESSION_is_resumable(p->session) != 1 ||
        SSL_set_session(ssl, p->session) != 1)
        empty(p);
}
