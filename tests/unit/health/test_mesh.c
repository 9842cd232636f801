#include "health/mesh.h"

#include "crypto/cert.h"
#include "health/advert.h"
#include "health/store/store.h"

#include "unit/health/sample.h"
#include "unit/net/scene.h"

#include <stddef.h>
#include <stdint.h>

/* The mesh service of node w1 among false model servers, peers with real TLS, and a store
 * that holds what the test puts into it. */

#define DAY_MS INT64_C(86400000)
#define PEM_MAX 8192

struct pem {
    uint8_t storage[PEM_MAX];
    struct text text;
};

struct play {
    struct scene scene;
    struct sample sample;
    struct server openai;
    struct server ollama;
    struct server peer; /* c1's listener, and w2's address */
    struct tls *server_tls;
    struct tls *client_tls;
    struct mesh_target backends[SAMPLE_BACKENDS];
    struct mesh_target nodes[SAMPLE_NODES];
    struct store store; /* .ops are the play's */
    store_read_fn read;
    void *read_context;
    uint8_t records[SAMPLE_NODES][ADVERT_MAX];
    size_t record_lens[SAMPLE_NODES];
    uint8_t written[ADVERT_MAX];
    size_t written_len;
    uint32_t writes;
    uint32_t polls;
    struct mesh *mesh;
    struct health_view *view; /* the newest */
    uint32_t views;
    int models_status;
    bool silent;
    const char *digest;
    bool draining;
};

static struct play *
play_of(const struct store *s)
{
    return (struct play *)(void *)((char *)(uintptr_t)s - offsetof(struct play, store));
}

static void
hub_listen(struct store *s, store_read_fn read, void *context)
{
    play_of(s)->read = read;
    play_of(s)->read_context = context;
}

static void
hub_write(struct store *s, struct slice value)
{
    struct play *p = play_of(s);

    p->writes++;
    p->written_len = value.len;
    memcpy(p->written, value.p, value.len);
}

static void
hub_poll(struct store *s)
{
    struct play *p = play_of(s);

    p->polls++;
    for (uint32_t n = 0; n < SAMPLE_NODES; n++)
        if (p->record_lens[n] > 0 && p->read != NULL)
            p->read(p->read_context, n, slice_of(p->records[n], p->record_lens[n]));
}

static bool
hub_connected(const struct store *s)
{
    (void)s;
    return true;
}

static uint64_t
hub_errors(const struct store *s)
{
    (void)s;
    return 5;
}

static const struct store_ops hub_ops = {hub_listen,    hub_write,  hub_poll,
                                         hub_connected, hub_errors, NULL};

static void
serve_openai(void *context, struct server_conn *c, struct slice head)
{
    struct play *p = context;

    if (p->silent)
        return;
    if (slice_is(server_path(head), "/base/v1/models"))
        server_answer(c, p->models_status, SLICE_LIT("{\"data\":[{\"id\":\"plain\"}]}"));
    else
        server_answer(c, 404, SLICE_NONE);
}

static void
serve_ollama(void *context, struct server_conn *c, struct slice head)
{
    struct play *p = context;
    char tags[256];

    assert_true(text_format(tags, sizeof(tags),
                            "{\"models\":[{\"name\":\"pinned:latest\",\"digest\":\"%s\"}]}",
                            p->digest));
    if (slice_is(server_path(head), "/base/api/tags"))
        server_answer(c, 200, slice_str(tags));
    else
        server_answer(c, 200, SLICE_LIT("{}"));
}

static void
serve_peer(void *context, struct server_conn *c, struct slice head)
{
    (void)context;
    server_answer(c, slice_is(server_path(head), "/health") ? 200 : 404, SLICE_NONE);
}

static bool
is_draining(void *context)
{
    return ((struct play *)context)->draining;
}

static void
load_of(void *context, uint32_t backend, struct mesh_load *out)
{
    (void)context;
    *out = (struct mesh_load){.in_flight = backend == SAMPLE_W_OPENAI ? 3 : 0, .ttft_ms = 40};
}

static void
take_view(void *context, struct health_view *view)
{
    struct play *p = context;

    health_view_unref(&p->view);
    p->view = view;
    p->views++;
}

static void
make_cert(struct pem *out, const struct key *key, const char *spiffe, const struct pem *ca,
          const struct key *ca_key)
{
    const struct cert_request request = {.common_name = "x",
                                         .spiffe = spiffe,
                                         .is_ca = ca == NULL,
                                         .not_before_ms = clock_wall_ms() - DAY_MS,
                                         .not_after_ms = clock_wall_ms() + DAY_MS};

    text_init(&out->text, out->storage, sizeof(out->storage));
    assert_int_equal(cert_make(&request, key, ca == NULL ? SLICE_NONE : text_slice(&ca->text),
                               ca_key, &out->text),
                     ERR_OK);
}

static void
open_tls(struct play *p)
{
    static struct pem ca;
    static struct pem cert;
    static struct pem pem;
    struct key *ca_key = NULL;
    struct key *key = NULL;
    const char *why = NULL;
    struct tls_server_opts server = {.client_auth = TLS_CLIENT_REQUIRED, .mesh = true};
    struct tls_client_opts client = {.mesh = true};

    assert_int_equal(key_generate(KEY_ES256, &ca_key), ERR_OK);
    assert_int_equal(key_generate(KEY_ES256, &key), ERR_OK);
    make_cert(&ca, ca_key, NULL, NULL, ca_key);
    make_cert(&cert, key, "spiffe://sample/node/c1", &ca, ca_key);
    text_init(&pem.text, pem.storage, sizeof(pem.storage));
    assert_int_equal(key_to_private_pem(key, &pem.text), ERR_OK);
    server.cert_pem = client.cert_pem = text_slice(&cert.text);
    server.key_pem = client.key_pem = text_slice(&pem.text);
    server.client_ca_pem = client.ca_pem = text_slice(&ca.text);
    assert_int_equal(tls_server_new(&server, &p->server_tls, &why), ERR_OK);
    assert_int_equal(tls_client_new(&client, &p->client_tls, &why), ERR_OK);
    key_free(&ca_key);
    key_free(&key);
}

static void
play_open(struct play *p)
{
    memset(p, 0, sizeof(*p));
    p->models_status = 200;
    p->digest = SAMPLE_DIGEST;
    p->store.ops = &hub_ops;
    sample_open(&p->sample);
    scene_open(&p->scene);
    open_tls(p);
    server_open(&p->openai, &p->scene, serve_openai, p);
    server_open(&p->ollama, &p->scene, serve_ollama, p);
    server_open(&p->peer, &p->scene, serve_peer, p);
    p->peer.tls = p->server_tls;
    p->backends[SAMPLE_W_OPENAI] =
        (struct mesh_target){.is_set = true, .address = p->openai.address, .host = "openai"};
    p->backends[SAMPLE_W_OLLAMA] =
        (struct mesh_target){.is_set = true, .address = p->ollama.address, .host = "ollama"};
    /* Another region's is not ours to probe, whatever the target says. */
    p->backends[SAMPLE_C_OPENAI] = p->backends[SAMPLE_W_OPENAI];
    p->nodes[SAMPLE_C1] = (struct mesh_target){
        .is_set = true, .address = p->peer.address, .tls = p->client_tls, .host = "c1"};
    p->nodes[SAMPLE_W2] = p->nodes[SAMPLE_C1]; /* answers, but as c1 */
}

static struct mesh_opts
opts_of(struct play *p)
{
    return (struct mesh_opts){.loop = p->scene.loop,
                              .charter = p->sample.charter,
                              .own_node = SAMPLE_W1,
                              .backends = p->backends,
                              .nodes = p->nodes,
                              .guard = p->scene.guard,
                              .advert_key = p->sample.keys[SAMPLE_W1],
                              .store = &p->store,
                              .draining = is_draining,
                              .load = load_of,
                              .publish = take_view,
                              .context = p,
                              .probe_interval_ms = 100,
                              .probe_deadline_ms = 80};
}

static void
play_mesh(struct play *p, const struct scene_step *steps, size_t count)
{
    const struct mesh_opts opts = opts_of(p);

    assert_int_equal(mesh_start(&opts, &p->mesh), ERR_OK);
    scene_play(&p->scene, steps, count, p);
}

static void
play_close(struct play *p)
{
    mesh_stop(&p->mesh);
    assert_null(p->read);
    health_view_unref(&p->view);
    server_shut(&p->openai);
    server_shut(&p->ollama);
    server_shut(&p->peer);
    scene_close(&p->scene);
    tls_unref(&p->server_tls);
    tls_unref(&p->client_tls);
    sample_close(&p->sample);
}

static bool
state_is(const struct play *p, uint32_t backend, enum health_state state)
{
    return p->view != NULL && p->view->backends[backend].state == state;
}

static bool
backends_up(void *context)
{
    return state_is(context, SAMPLE_W_OPENAI, HEALTH_UP) &&
           state_is(context, SAMPLE_W_OLLAMA, HEALTH_UP);
}

static bool
openai_down(void *context)
{
    return state_is(context, SAMPLE_W_OPENAI, HEALTH_DOWN);
}

static bool
c1_alive(void *context)
{
    struct play *p = context;

    return p->view != NULL && p->view->nodes[SAMPLE_C1].alive;
}

static bool
c1_dead(void *context)
{
    return !c1_alive(context);
}

static void
test_own_backends(void **state)
{
    static const struct scene_step steps[] = {{"up", NULL, backends_up}};
    static struct play p;
    const struct health_backend *h;

    (void)state;
    play_open(&p);
    play_mesh(&p, steps, 1);
    h = p.view->backends;
    assert_int_equal(h[SAMPLE_W_OPENAI].age, HEALTH_FRESH);
    assert_int_equal(h[SAMPLE_W_OPENAI].models_matched, SAMPLE_PLAIN);
    assert_int_equal(h[SAMPLE_W_OPENAI].in_flight, 3); /* it says nothing: what we know */
    assert_int_equal(h[SAMPLE_W_OPENAI].ttft_ms, 40);
    assert_int_equal(h[SAMPLE_W_OLLAMA].models_matched, SAMPLE_PINNED);
    assert_int_equal(h[SAMPLE_W_OLLAMA].models_digest, SAMPLE_PINNED);
    assert_int_equal(h[SAMPLE_W_VLLM].state, HEALTH_UNKNOWN);
    assert_int_equal(h[SAMPLE_C_OPENAI].state, HEALTH_UNKNOWN);
    assert_int_equal(h[SAMPLE_C_OPENAI].age, HEALTH_GONE);
    assert_true(p.view->nodes[SAMPLE_W1].alive);
    assert_int_equal(p.view->live_peers, 1);
    play_close(&p);
}

static void
break_openai(void *context)
{
    ((struct play *)context)->models_status = 500;
}

static void
mend_openai(void *context)
{
    ((struct play *)context)->models_status = 200;
}

static void
hush_openai(void *context)
{
    ((struct play *)context)->silent = true;
}

static void
speak_openai(void *context)
{
    ((struct play *)context)->silent = false;
    server_hang_up(&((struct play *)context)->openai);
}

static void
shut_openai(void *context)
{
    server_shut(&((struct play *)context)->openai);
}

static void
reopen_openai(void *context)
{
    server_reopen(&((struct play *)context)->openai);
}

static void
test_down_and_up_again(void **state)
{
    static const struct scene_step steps[] = {
        {"up", NULL, backends_up},
        {"down by its answer", break_openai, openai_down},
        {"up again", mend_openai, backends_up},
        {"down by silence", hush_openai, openai_down},
        {"up from silence", speak_openai, backends_up},
        {"down by refusal", shut_openai, openai_down},
        {"up from refusal", reopen_openai, backends_up},
    };
    static struct play p;
    struct mesh_stats stats;

    (void)state;
    play_open(&p);
    play_mesh(&p, steps, ARRAY_COUNT(steps));
    mesh_stats(p.mesh, &stats);
    assert_true(stats.probes_ok > 0);
    assert_true(stats.probes_failed > 0);
    assert_int_equal(stats.store_errors, 5);
    assert_true(stats.store_connected);
    play_close(&p);
}

static void
shut_peer(void *context)
{
    server_shut(&((struct play *)context)->peer);
}

static void
test_peers_live_by_their_own_identity(void **state)
{
    static const struct scene_step steps[] = {
        {"alive", NULL, c1_alive},
        {"dead", shut_peer, c1_dead},
    };
    static struct play p;

    (void)state;
    play_open(&p);
    play_mesh(&p, steps, 1);
    assert_true(p.view->nodes[SAMPLE_C1].rtt_us > 0);
    assert_true(p.view->nodes[SAMPLE_C1].charter_ok); /* none is known */
    assert_false(p.view->nodes[SAMPLE_W2].alive);     /* c1 answered in its place */
    play_close(&p);
    play_open(&p);
    play_mesh(&p, steps, 2);
    play_close(&p);
}

static void
test_no_peer_in_plain(void **state)
{
    static struct play p;
    struct mesh_opts opts;

    (void)state;
    play_open(&p);
    p.nodes[SAMPLE_C1].tls = NULL;
    opts = opts_of(&p);
    assert_int_equal(mesh_start(&opts, &p.mesh), ERR_FORBIDDEN);
    assert_null(p.mesh);
    play_close(&p);
}

/* A record of c1 in the store. */
static void
put_record(struct play *p, uint32_t key_of, uint32_t under, uint64_t seq)
{
    struct advert *a = advert_new(p->sample.charter);
    struct text t;

    assert_non_null(a);
    a->node = SAMPLE_C1;
    memcpy(a->boot, "AAAAAAAAAAAAAAAAAAAAAA", ADVERT_BOOT_SIZE);
    a->seq = seq;
    a->t_ms = clock_wall_ms();
    a->draining = true;
    a->backend_count = 1;
    a->backends[0].backend = SAMPLE_C_OPENAI;
    a->backends[0].facts = (struct health_backend){
        .state = HEALTH_UP, .slots = 4, .in_flight = 2, .models_matched = SAMPLE_PLAIN};
    text_init(&t, p->records[under], ADVERT_MAX);
    assert_int_equal(advert_write(a, p->sample.charter, p->sample.keys[key_of], &t), ERR_OK);
    p->record_lens[under] = t.used;
    free(a);
}

static void
put_good(void *context)
{
    put_record(context, SAMPLE_C1, SAMPLE_C1, 1);
}

static bool
c_openai_up(void *context)
{
    return state_is(context, SAMPLE_C_OPENAI, HEALTH_UP);
}

static void
test_other_regions_by_their_adverts(void **state)
{
    static const struct scene_step steps[] = {
        {"up", NULL, backends_up},
        {"heard of", put_good, c_openai_up},
    };
    static struct play p;

    (void)state;
    play_open(&p);
    play_mesh(&p, steps, 2);
    assert_int_equal(p.view->backends[SAMPLE_C_OPENAI].age, HEALTH_FRESH);
    assert_int_equal(p.view->backends[SAMPLE_C_OPENAI].in_flight, 2);
    assert_int_equal(p.view->backends[SAMPLE_C_OPENAI].models_matched, SAMPLE_PLAIN);
    assert_true(p.view->nodes[SAMPLE_C1].draining);
    assert_true(p.view->nodes[SAMPLE_C1].charter_ok);
    play_close(&p);
}

static void
put_bad(void *context)
{
    put_record(context, SAMPLE_W2, SAMPLE_C1, 1); /* another node's key */
    put_record(context, SAMPLE_C1, SAMPLE_W2, 1); /* under another node's name */
}

static bool
two_refused(void *context)
{
    struct mesh_stats stats;

    mesh_stats(((struct play *)context)->mesh, &stats);
    return stats.adverts_refused >= 2;
}

static bool
two_more_polls(void *context)
{
    return ((struct play *)context)->polls >= 3;
}

static void
test_false_records_change_nothing(void **state)
{
    static const struct scene_step steps[] = {
        {"refused", put_bad, two_refused},
        {"polled again", NULL, two_more_polls},
    };
    static struct play p;
    struct mesh_stats stats;

    (void)state;
    play_open(&p);
    play_mesh(&p, steps, 2);
    assert_int_equal(p.view->backends[SAMPLE_C_OPENAI].state, HEALTH_UNKNOWN);
    assert_false(p.view->nodes[SAMPLE_C1].draining);
    mesh_stats(p.mesh, &stats);
    assert_int_equal(stats.adverts_refused, 2); /* the same bytes are not read twice */
    assert_int_equal(stats.adverts_read, 0);
    play_close(&p);
}

static bool
written_up(void *context)
{
    struct play *p = context;
    struct advert *a = advert_new(p->sample.charter);
    const char *why = NULL;
    bool up = false;

    assert_non_null(a);
    if (p->writes > 0) {
        assert_int_equal(advert_read(slice_of(p->written, p->written_len), p->sample.charter,
                                     clock_wall_ms(), a, &why),
                         ERR_OK);
        assert_int_equal(a->node, SAMPLE_W1);
        assert_int_equal(a->seq, p->writes);
        assert_int_equal(a->draining, p->draining);
        assert_int_equal(a->backend_count, 2);
        assert_int_equal(a->backends[0].backend, SAMPLE_W_OLLAMA);
        assert_int_equal(a->backends[1].backend, SAMPLE_W_OPENAI);
        up = a->backends[1].facts.state == HEALTH_UP;
        if (up) {
            assert_int_equal(a->backends[1].facts.in_flight, 3);
            assert_int_equal(a->backends[1].facts.models_matched, SAMPLE_PLAIN);
        }
    }
    free(a);
    return up;
}

static void
test_what_a_node_says_of_itself(void **state)
{
    static const struct scene_step steps[] = {{"written", NULL, written_up}};
    static struct play p;

    (void)state;
    play_open(&p);
    p.draining = true;
    play_mesh(&p, steps, 1);
    assert_true(p.view->nodes[SAMPLE_W1].draining);
    play_close(&p);
}

static void
change_digest(void *context)
{
    ((struct play *)context)->digest =
        "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
}

static bool
pinned_wrong(void *context)
{
    struct play *p = context;

    return p->view->backends[SAMPLE_W_OLLAMA].models_wrong == SAMPLE_PINNED;
}

static void
test_another_digest_is_a_mismatch(void **state)
{
    static const struct scene_step steps[] = {
        {"up", NULL, backends_up},
        {"wrong", change_digest, pinned_wrong},
    };
    static struct play p;

    (void)state;
    play_open(&p);
    play_mesh(&p, steps, 2);
    assert_int_equal(p.view->backends[SAMPLE_W_OLLAMA].models_matched, 0);
    assert_int_equal(p.view->backends[SAMPLE_W_OLLAMA].models_digest, 0);
    play_close(&p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_backends),
        cmocka_unit_test(test_down_and_up_again),
        cmocka_unit_test(test_peers_live_by_their_own_identity),
        cmocka_unit_test(test_no_peer_in_plain),
        cmocka_unit_test(test_other_regions_by_their_adverts),
        cmocka_unit_test(test_false_records_change_nothing),
        cmocka_unit_test(test_what_a_node_says_of_itself),
        cmocka_unit_test(test_another_digest_is_a_mismatch),
    };

    return cmocka_run_group_tests_name("health/mesh", tests, NULL, NULL);
}
