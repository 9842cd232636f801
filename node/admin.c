#include "node/admin.h"

#include "base/check.h"
#include "base/clock.h"
#include "net/conn.h"
#include "net/h1.h"
#include "node/machine.h"

#include <stdlib.h>
#include <unistd.h>

#define ADMIN_MAGIC 0x41444d4eu
#define ADMIN_SESSION_MAGIC 0x41445353u
#define ADMIN_SESSIONS_MAX 64
#define ADMIN_BODY_MAX 1048576
_Static_assert(ADMIN_BODY_MAX >= 65536 + CHARTER_BACKENDS_MAX * (CHARTER_NAME_MAX + 64),
               "every answer holds a line for each backend");
#define ADMIN_DEADLINE_MS 30000 /* a busy scraper may be late; the oldest of too many gives way */

struct admin {
    uint32_t magic;
    struct admin_opts opts;
    struct listener *listener;
    struct session *sessions;
    size_t count;
};

struct session {
    uint32_t magic;
    struct admin *admin;
    struct session *next, *prev;
    struct conn *conn;
    struct h1_parser parser;
    bool gone;
};

/* Authorization is a column: every route says who may ask. Today the listener's address is
 * the operators' own and all routes are readable there. */
enum admin_role { ROLE_VIEWER };

static void answer_health(struct admin *a, struct text *body, int *status);
static void answer_ready(struct admin *a, struct text *body, int *status);
static void answer_metrics(struct admin *a, struct text *body, int *status);

static const struct admin_route {
    const char *path;
    enum admin_role role;
    const char *type;
    void (*answer)(struct admin *a, struct text *body, int *status);
} routes[] = {
    {"/health", ROLE_VIEWER, "application/json", answer_health},
    {"/ready", ROLE_VIEWER, "application/json", answer_ready},
    {"/metrics", ROLE_VIEWER, "text/plain; version=0.0.4", answer_metrics},
};

static void
answer_health(struct admin *a, struct text *body, int *status)
{
    (void)a;
    text_add_str(body, "{\"status\":\"ok\"}\n");
    *status = 200;
}

static size_t
count_up(const struct snapshot *now, const struct health_view *view)
{
    size_t up = 0;

    for (size_t i = 0; i < view->charter->backend_count; i++)
        up += view->backends[i].state == HEALTH_UP &&
              view->charter->backends[i].region == now->own_region;
    for (size_t i = 0; i < view->charter->node_count; i++)
        up += view->nodes[i].alive;
    return up;
}

const char *
admin_why_not_ready(struct shared *s)
{
    struct snapshot *now;
    struct health_view *view;
    const char *why = NULL;

    (void)pthread_mutex_lock(&s->lock);
    now = snapshot_ref(s->current);
    view = health_view_ref(s->view);
    (void)pthread_mutex_unlock(&s->lock);
    if (!ledger_healthy(s->ledger))
        why = "the ledger can't be written";
    else if (atomic_load(&s->announced))
        why = "draining";
    else if (now->charter->valid_until_ms <= clock_wall_ms())
        why = "the charter has expired";
    else if (count_up(now, view) == 0)
        why = "no backend and no peer is up";
    snapshot_unref(&now);
    health_view_unref(&view);
    return why;
}

static void
answer_ready(struct admin *a, struct text *body, int *status)
{
    struct shared *s = a->opts.shared;
    struct snapshot *now;
    struct health_view *view;
    const char *why = admin_why_not_ready(s);
    size_t up;

    (void)pthread_mutex_lock(&s->lock);
    now = snapshot_ref(s->current);
    view = health_view_ref(s->view);
    (void)pthread_mutex_unlock(&s->lock);
    up = count_up(now, view);
    *status = why == NULL ? 200 : 503;
    text_add_str(body, "{\"ready\":");
    text_add_str(body, why == NULL ? "true" : "false,\"reason\":");
    if (why != NULL)
        text_add_json(body, slice_str(why));
    text_add_str(body, ",\"node\":");
    text_add_json(body, slice_str(now->config->node));
    text_addf(body, ",\"charter\":%llu,\"up\":%zu,\"backends\":{",
              (unsigned long long)now->charter->version, up);
    for (size_t i = 0; i < view->charter->backend_count; i++) {
        text_add_str(body, i == 0 ? "" : ",");
        text_add_json(body, slice_str(view->charter->backends[i].name));
        text_add_char(body, ':');
        text_add_json(body, slice_str(health_state_name(view->backends[i].state)));
    }
    text_add_str(body, "},\"nodes\":{");
    for (size_t i = 0; i < view->charter->node_count; i++) {
        text_add_str(body, i == 0 ? "" : ",");
        text_add_json(body, slice_str(view->charter->nodes[i].name));
        text_add_str(body, view->nodes[i].alive ? ":true" : ":false");
    }
    text_add_str(body, "}}\n");
    snapshot_unref(&now);
    health_view_unref(&view);
}

/* What the node itself has under way on each backend, of how many at most. */
static void
write_slots(struct shared *s, struct text *body)
{
    struct snapshot *now;

    (void)pthread_mutex_lock(&s->lock);
    now = snapshot_ref(s->current);
    (void)pthread_mutex_unlock(&s->lock);
    text_add_str(body, "# HELP portolan_backend_in_flight Requests of this node on a backend.\n"
                       "# TYPE portolan_backend_in_flight gauge\n");
    for (size_t i = 0; i < now->charter->backend_count; i++)
        text_addf(body, "portolan_backend_in_flight{backend=\"%s\"} %u\n",
                  now->charter->backends[i].name,
                  admission_in_flight(s->admission, now->backend_ids[i]));
    snapshot_unref(&now);
}

static void
answer_metrics(struct admin *a, struct text *body, int *status)
{
    struct shared *s = a->opts.shared;
    struct ledger_stats ledger;

    *status = 200;
    metrics_write(&s->metrics, body);
    overload_metrics(s->overload, body);
    machine_metrics(body);
    ledger_stats(s->ledger, &ledger);
    text_addf(body,
              "# HELP portolan_ledger_frames_total Frames written to the log.\n"
              "# TYPE portolan_ledger_frames_total counter\nportolan_ledger_frames_total %llu\n"
              "# HELP portolan_ledger_syncs_total Completed fdatasync calls.\n"
              "# TYPE portolan_ledger_syncs_total counter\nportolan_ledger_syncs_total %llu\n"
              "# HELP portolan_ledger_open_requests Requests with room reserved.\n"
              "# TYPE portolan_ledger_open_requests gauge\nportolan_ledger_open_requests %llu\n",
              (unsigned long long)ledger.frames, (unsigned long long)ledger.syncs,
              (unsigned long long)ledger.open_requests);
    text_addf(body,
              "# HELP portolan_queued Requests that wait for a slot.\n"
              "# TYPE portolan_queued gauge\nportolan_queued %u\n",
              admission_queued(s->admission));
    write_slots(s, body);
    if (a->opts.more_metrics != NULL)
        a->opts.more_metrics(a->opts.context, body);
}

static void
destroy(void *context)
{
    struct session *s = context;

    s->magic = 0;
    free(s);
}

static void
session_end(struct session *s, uint64_t linger_ms)
{
    if (s->gone)
        return;
    s->gone = true;
    if (s->prev != NULL)
        s->prev->next = s->next;
    else
        s->admin->sessions = s->next;
    if (s->next != NULL)
        s->next->prev = s->prev;
    s->admin->count--;
    if (linger_ms > 0)
        conn_close(s->conn, linger_ms);
    else
        conn_abort(s->conn);
    loop_bury(s->admin->opts.loop, destroy, s);
}

/* route NULL: refusal is the answer. */
static void
respond(struct session *s, const struct admin_route *route, int status, const char *refusal)
{
    struct admin *a = s->admin;
    uint8_t head[512];
    struct buf storage;
    struct text body;
    struct text h;
    size_t room = 0;

    buf_init(&storage, a->opts.pool, ADMIN_BODY_MAX);
    text_init(&body, buf_room(&storage, ADMIN_BODY_MAX, &room), 0);
    body.size = room;
    if (route != NULL)
        route->answer(a, &body, &status);
    else
        text_addf(&body, "{\"error\":\"%s\"}\n", refusal);
    if (!text_ok(&body))
        status = 500;
    text_init(&h, head, sizeof(head));
    h1_write_status_line(&h, status);
    h1_write_field(&h, SLICE_LIT("Content-Type"),
                   slice_str(route == NULL ? "application/json" : route->type));
    h1_write_field_u64(&h, SLICE_LIT("Content-Length"), body.used);
    if (status == 405)
        h1_write_field(&h, SLICE_LIT("Allow"), SLICE_LIT("GET"));
    h1_write_field(&h, SLICE_LIT("Connection"), SLICE_LIT("close"));
    h1_write_end(&h);
    if (!text_ok(&h) || conn_write(s->conn, text_slice(&h)) != ERR_OK ||
        conn_write(s->conn, text_slice(&body)) != ERR_OK)
        session_end(s, 0);
    buf_release(&storage);
    session_end(s, 1000);
}

static void
on_conn(void *owner, struct conn *conn, unsigned events)
{
    struct session *s = owner;
    const struct admin_route *route = NULL;
    struct h1_head head;
    size_t len = 0;
    enum err e;

    ASSERT(s->magic == ADMIN_SESSION_MAGIC);
    if ((events & CONN_DATA) != 0) {
        e = h1_parse_head(&s->parser, buf_slice(conn_in(conn)), &head, &len);
        if (e == ERR_OK) {
            for (size_t i = 0; i < ARRAY_COUNT(routes) && head.http.method == HTTP_GET; i++)
                if (slice_is(head.http.path, routes[i].path))
                    route = &routes[i];
            respond(s, route, 404, "no such path");
            return;
        }
        if (e != ERR_AGAIN) {
            respond(s, NULL, h1_fault_status(s->parser.fault), h1_fault_text(s->parser.fault));
            return;
        }
    }
    if ((events & (CONN_EOF | CONN_FAILED | CONN_TIMED_OUT)) != 0)
        session_end(s, 0);
}

/* It has had its time: whoever asks now gets an answer. */
static void
end_oldest(struct admin *a)
{
    struct session *s = a->sessions;

    while (s->next != NULL)
        s = s->next;
    session_end(s, 0);
}

static void
on_accept(void *context, int fd)
{
    struct admin *a = context;
    struct session *s;
    struct conn_opts opts = {.loop = a->opts.loop,
                             .pool = a->opts.pool,
                             .fn = on_conn,
                             .in_max = H1_HEAD_MAX,
                             .out_max = ADMIN_BODY_MAX + 1024};

    if (a->count == ADMIN_SESSIONS_MAX)
        end_oldest(a);
    s = calloc(1, sizeof(*s));
    opts.owner = s;
    if (s == NULL) {
        (void)close(fd);
        return;
    }
    s->magic = ADMIN_SESSION_MAGIC;
    s->admin = a;
    h1_parser_init(&s->parser, H1_REQUEST);
    if (conn_accepted(&opts, fd, &s->conn) != ERR_OK) {
        free(s);
        return;
    }
    conn_deadline(s->conn, ADMIN_DEADLINE_MS);
    s->next = a->sessions;
    if (s->next != NULL)
        s->next->prev = s;
    a->sessions = s;
    a->count++;
}

enum err
admin_start(const struct admin_opts *opts, struct admin **out)
{
    struct admin *a = calloc(1, sizeof(*a));
    enum err e;

    if (a == NULL)
        return ERR_NOMEM;
    a->magic = ADMIN_MAGIC;
    a->opts = *opts;
    e = listener_new(opts->loop, opts->fd, on_accept, a, &a->listener);
    if (e == ERR_OK)
        e = listener_reserve(a->listener, LISTENER_SPARES_MAX);
    if (e != ERR_OK) {
        listener_free(&a->listener);
        free(a);
        return e;
    }
    listener_pause(a->listener, opts->held);
    *out = a;
    return ERR_OK;
}

void
admin_accept(struct admin *a, bool accept)
{
    if (accept)
        listener_pause(a->listener, false);
    else
        listener_free(&a->listener);
}

void
admin_stop(struct admin **out)
{
    struct admin *a = *out;

    if (a == NULL)
        return;
    listener_free(&a->listener);
    while (a->sessions != NULL)
        session_end(a->sessions, 0);
    a->magic = 0;
    free(a);
    *out = NULL;
}
