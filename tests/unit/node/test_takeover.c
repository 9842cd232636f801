#include "node/takeover_priv.h"

#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/text.h"
#include "net/listener.h"

#define WAIT_MS 10000
#define STAGES_MAX 16

/* ---- Messages ------------------------------------------------------------------------ */

static size_t
packet(uint8_t *out, const char *magic, unsigned type, size_t claimed, size_t len)
{
    memset(out, 0, TAKEOVER_HEADER + len);
    memcpy(out, magic, 8);
    out[8] = TAKEOVER_VERSION;
    out[10] = (uint8_t)type;
    out[12] = (uint8_t)(claimed & 0xff);
    out[13] = (uint8_t)(claimed >> 8);
    return TAKEOVER_HEADER + len;
}

static void
malformed_messages(void **state)
{
    static const struct {
        const char *magic;
        unsigned type;
        size_t claimed, len;
        enum err result;
    } cases[] = {
        {"PTLNTKOV", 1, 0, 0, ERR_OK},
        {"PTLNTKOV", 6, 5, 5, ERR_OK},
        {"PTLNTKOV", 2, TAKEOVER_PAYLOAD_MAX, TAKEOVER_PAYLOAD_MAX, ERR_OK},
        {"PTLNTKOV", 2, TAKEOVER_PAYLOAD_MAX + 1, TAKEOVER_PAYLOAD_MAX + 1, ERR_TOOBIG},
        {"PTLNTKOV", 0, 0, 0, ERR_BADMSG},
        {"PTLNTKOV", 9, 0, 0, ERR_OK},
        {"PTLNTKOV", 10, 0, 0, ERR_BADMSG},
        {"PTLNTKOV", 1, 5, 4, ERR_BADMSG},
        {"PTLNTKOV", 1, 4, 5, ERR_BADMSG},
        {"PTLNTKOW", 1, 0, 0, ERR_BADMSG},
    };
    uint8_t bytes[TAKEOVER_HEADER + TAKEOVER_PAYLOAD_MAX + 1];
    struct takeover_message m;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        size_t n = packet(bytes, cases[i].magic, cases[i].type, cases[i].claimed, cases[i].len);

        assert_int_equal(takeover_decode(slice_of(bytes, n), &m), cases[i].result);
    }
    (void)packet(bytes, "PTLNTKOV", 1, 0, 0);
    for (size_t n = 0; n < TAKEOVER_HEADER; n++)
        assert_int_equal(takeover_decode(slice_of(bytes, n), &m), ERR_BADMSG);
}

static void
fill(struct takeover_terms *terms, size_t len)
{
    memset(terms, 0, sizeof(*terms));
    for (size_t i = 0; i < TAKEOVER_TERM_COUNT; i++)
        memset(terms->values[i], 'a' + (int)i, len);
}

static void
terms_come_back(void **state)
{
    struct takeover_terms in, out;
    struct takeover_message m;
    size_t len;

    (void)state;
    fill(&in, CONFIG_PATH_MAX - 1);
    takeover_hello_encode(&in, &m);
    assert_true(takeover_hello_decode(&m, &out));
    for (size_t i = 0; i < TAKEOVER_TERM_COUNT; i++)
        assert_string_equal(in.values[i], out.values[i]);
    fill(&in, 3);
    takeover_hello_encode(&in, &m);
    len = m.len;
    for (m.len = 0; m.len < len; m.len++)
        assert_false(takeover_hello_decode(&m, &out));
    m.len = len + 1;
    assert_false(takeover_hello_decode(&m, &out));
    m.len = len;
    m.payload[3] = '\0';
    assert_false(takeover_hello_decode(&m, &out));
    /* One byte more than a value has room for. */
    fill(&in, 0);
    takeover_hello_encode(&in, &m);
    memmove(m.payload + 2 + CONFIG_PATH_MAX, m.payload + 2, m.len - 2);
    memset(m.payload + 2, 'x', CONFIG_PATH_MAX);
    m.payload[0] = CONFIG_PATH_MAX & 0xff;
    m.payload[1] = CONFIG_PATH_MAX >> 8;
    m.len += CONFIG_PATH_MAX;
    assert_false(takeover_hello_decode(&m, &out));
}

static void
terms_that_differ_are_named(void **state)
{
    struct takeover_terms a, b;
    char why[TAKEOVER_WORDS_MAX];

    (void)state;
    fill(&a, 4);
    fill(&b, 4);
    assert_true(takeover_terms_agree(&a, &b, why));
    b.values[TAKEOVER_TERM_LEDGER][0] = 'x';
    assert_false(takeover_terms_agree(&a, &b, why));
    assert_string_equal(why, "ledger.dir: changes only with a restart");
    fill(&b, 4);
    b.values[TAKEOVER_TERM_CHARTER][0] = 'x';
    assert_false(takeover_terms_agree(&a, &b, why));
    assert_non_null(strstr(why, "reload it first"));
}

/* ---- Two sides ------------------------------------------------------------------------- */

struct scene {
    char dir[64];
    struct takeover_giver_opts opts;
    struct takeover_giver *giver;
    struct takeover_terms terms;
    pthread_mutex_t lock;
    enum takeover_stage stages[STAGES_MAX];
    size_t stage_count;
    enum err begin, share;
    bool answers; /* what is asked at once: done, with these words */
    bool done;
    const char *words;
    unsigned asked, wanted, followed;
    uint64_t serial;
    char path[CONFIG_PATH_MAX];
    enum err result;
    char follow_words[TAKEOVER_WORDS_MAX];
};

static void
give_terms(void *context, struct takeover_terms *out)
{
    struct scene *s = context;

    *out = s->terms;
}

static enum err
on_stage(void *context, enum takeover_stage stage)
{
    struct scene *s = context;

    (void)pthread_mutex_lock(&s->lock);
    assert_true(s->stage_count < STAGES_MAX);
    s->stages[s->stage_count++] = stage;
    (void)pthread_mutex_unlock(&s->lock);
    return stage == TAKEOVER_BEGIN ? s->begin : stage == TAKEOVER_SHARE ? s->share : ERR_OK;
}

static void
on_asked(void *context, uint64_t serial, const char *path)
{
    struct scene *s = context;

    (void)pthread_mutex_lock(&s->lock);
    s->asked++;
    s->serial = serial;
    assert_true(text_format(s->path, sizeof(s->path), "%s", path));
    (void)pthread_mutex_unlock(&s->lock);
    if (s->answers)
        takeover_giver_answer(s->giver, serial, s->done, s->words);
}

static void
on_wanted(void *context)
{
    struct scene *s = context;

    (void)pthread_mutex_lock(&s->lock);
    s->wanted++;
    (void)pthread_mutex_unlock(&s->lock);
}

static void
on_followed(void *context, enum err result, const char *words)
{
    struct scene *s = context;

    (void)pthread_mutex_lock(&s->lock);
    s->followed++;
    s->result = result;
    assert_true(text_format(s->follow_words, sizeof(s->follow_words), "%s", words));
    (void)pthread_mutex_unlock(&s->lock);
}

static struct scene *
scene_after(int before_fd)
{
    struct scene *s = calloc(1, sizeof(*s));
    struct address at;
    char path[96];

    assert_non_null(s);
    memcpy(s->dir, "/tmp/portolan-takeover-XXXXXX", 30);
    assert_non_null(mkdtemp(s->dir));
    (void)pthread_mutex_init(&s->lock, NULL);
    fill(&s->terms, 10);
    s->opts = (struct takeover_giver_opts){
        .state_dir = s->dir,
        .before_fd = before_fd,
        .terms = give_terms,
        .stage = on_stage,
        .asked = on_asked,
        .wanted = on_wanted,
        .followed = on_followed,
        .context = s,
    };
    assert_int_equal(address_parse("127.0.0.1", 0, &at), ERR_OK);
    assert_int_equal(listener_open(&at, &s->opts.fds[TAKEOVER_PUBLIC]), ERR_OK);
    assert_int_equal(listener_open(&at, &s->opts.fds[TAKEOVER_ADMIN]), ERR_OK);
    s->opts.fds[TAKEOVER_MESH] = -1;
    assert_true(text_format(path, sizeof(path), "%s/lock", s->dir));
    s->opts.fds[TAKEOVER_LOCK] = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(s->opts.fds[TAKEOVER_LOCK] >= 0);
    assert_int_equal(takeover_giver_start(&s->opts, &s->giver), ERR_OK);
    return s;
}

static struct scene *
scene_new(void)
{
    return scene_after(-1);
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void
scene_free(struct scene *s)
{
    takeover_giver_stop(&s->giver);
    for (size_t i = 0; i < TAKEOVER_FD_COUNT; i++)
        if (s->opts.fds[i] >= 0)
            (void)close(s->opts.fds[i]);
    (void)nftw(s->dir, remove_one, 4, FTW_DEPTH | FTW_PHYS);
    free(s);
}

/* Until the stages so far are these. */
static void
expect_stages(struct scene *s, const enum takeover_stage *stages, size_t count)
{
    struct timespec moment = {.tv_nsec = 1000000};

    for (int i = 0; i < WAIT_MS; i++) {
        bool same;

        (void)pthread_mutex_lock(&s->lock);
        same = s->stage_count == count && memcmp(s->stages, stages, count * sizeof(*stages)) == 0;
        (void)pthread_mutex_unlock(&s->lock);
        if (same)
            return;
        (void)nanosleep(&moment, NULL);
    }
    fail_msg("the stages were others");
}

/* Until a count of the scene is that. */
static void
expect_count(struct scene *s, const unsigned *count, unsigned wanted)
{
    struct timespec moment = {.tv_nsec = 1000000};

    for (int i = 0; i < WAIT_MS; i++) {
        bool is;

        (void)pthread_mutex_lock(&s->lock);
        is = *count == wanted;
        (void)pthread_mutex_unlock(&s->lock);
        if (is)
            return;
        (void)nanosleep(&moment, NULL);
    }
    fail_msg("it never came to %u", wanted);
}

static void
take(struct scene *s, struct takeover_taker *t)
{
    char why[TAKEOVER_WORDS_MAX];

    if (takeover_begin(t, s->dir, &s->terms, why) != ERR_OK)
        fail_msg("%s", why);
}

static enum err
ask(struct takeover_taker *t, char why[TAKEOVER_WORDS_MAX])
{
    struct timespec moment = {.tv_nsec = 1000000};
    enum err e = ERR_AGAIN;

    for (int i = 0; i < WAIT_MS && e == ERR_AGAIN; i++) {
        e = takeover_ask(t, why);
        (void)nanosleep(&moment, NULL);
    }
    return e;
}

static void
refused(struct scene *s, const char *words)
{
    struct takeover_taker t;
    char why[TAKEOVER_WORDS_MAX];

    assert_int_equal(takeover_begin(&t, s->dir, &s->terms, why), ERR_FORBIDDEN);
    assert_non_null(strstr(why, words));
    for (size_t i = 0; i < TAKEOVER_FD_COUNT; i++)
        assert_int_equal(t.fds[i], -1);
}

static bool
same_file(int a, int b)
{
    struct stat x, y;

    return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_ino == y.st_ino && x.st_dev == y.st_dev;
}

static void
a_whole_takeover(void **state)
{
    static const enum takeover_stage all[] = {TAKEOVER_BEGIN, TAKEOVER_SHARE, TAKEOVER_GO,
                                              TAKEOVER_GIVEN};
    struct scene *s = scene_new();
    struct takeover_taker t;
    char why[TAKEOVER_WORDS_MAX], path[96];
    struct stat st;
    int fd;

    (void)state;
    assert_true(text_format(path, sizeof(path), "%s/%s", s->dir, TAKEOVER_SOCKET));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    take(s, &t);
    expect_stages(s, all, 2);
    for (size_t i = 0; i < TAKEOVER_FD_COUNT; i++) {
        if (i == TAKEOVER_MESH) {
            assert_int_equal(t.fds[i], -1);
            continue;
        }
        assert_true(same_file(t.fds[i], s->opts.fds[i]));
        assert_true((fcntl(t.fds[i], F_GETFD) & FD_CLOEXEC) != 0);
    }
    assert_int_equal(ask(&t, why), ERR_OK);
    expect_stages(s, all, 3);
    fd = takeover_serving(&t);
    expect_stages(s, all, 4);
    (void)close(fd);
    /* The name may be the new process's by now: it stays. */
    takeover_giver_stop(&s->giver);
    assert_int_equal(stat(path, &st), 0);
    scene_free(s);
}

static void
what_is_refused(void **state)
{
    static const enum takeover_stage failed[] = {TAKEOVER_BEGIN, TAKEOVER_FAILED};
    struct scene *s = scene_new();

    (void)state;
    s->begin = ERR_AGAIN;
    refused(s, "reload is under way");
    s->begin = ERR_CLOSED;
    refused(s, "stopping");
    s->stage_count = 0;
    s->begin = ERR_OK;
    s->terms.values[TAKEOVER_TERM_NODE][0] = 'x';
    {
        struct takeover_terms other = s->terms;
        struct takeover_taker t;
        char why[TAKEOVER_WORDS_MAX];

        other.values[TAKEOVER_TERM_NODE][0] = 'y';
        assert_int_equal(takeover_begin(&t, s->dir, &other, why), ERR_FORBIDDEN);
        assert_non_null(strstr(why, "node: changes only"));
    }
    expect_stages(s, failed, 2);
    s->stage_count = 0;
    s->share = ERR_IO;
    refused(s, "can't share");
    scene_free(s);
}

static void
a_third_is_refused_and_the_next_may(void **state)
{
    static const enum takeover_stage twice[] = {TAKEOVER_BEGIN,  TAKEOVER_SHARE, TAKEOVER_FAILED,
                                                TAKEOVER_BEGIN,  TAKEOVER_SHARE, TAKEOVER_GO,
                                                TAKEOVER_FAILED, TAKEOVER_BEGIN, TAKEOVER_SHARE};
    struct scene *s = scene_new();
    struct takeover_taker t;
    char why[TAKEOVER_WORDS_MAX];

    (void)state;
    take(s, &t);
    refused(s, "another process is taking over");
    takeover_end(&t); /* it dies before it is ready */
    expect_stages(s, twice, 3);
    take(s, &t);
    assert_int_equal(ask(&t, why), ERR_OK);
    refused(s, "another process is taking over");
    takeover_end(&t); /* it dies before it serves */
    expect_stages(s, twice, 7);
    take(s, &t);
    expect_stages(s, twice, 9);
    takeover_end(&t);
    scene_free(s);
}

static void
the_old_one_stops_meanwhile(void **state)
{
    struct scene *s = scene_new();
    struct takeover_taker t;
    char why[TAKEOVER_WORDS_MAX], path[96];

    (void)state;
    take(s, &t);
    takeover_giver_stop(&s->giver);
    assert_int_equal(ask(&t, why), ERR_FORBIDDEN);
    assert_non_null(strstr(why, "stopping"));
    takeover_end(&t);
    assert_true(text_format(path, sizeof(path), "%s/%s", s->dir, TAKEOVER_SOCKET));
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(takeover_begin(&t, s->dir, &s->terms, why), ERR_NOENT);
    assert_non_null(strstr(why, "no process listens"));
    scene_free(s);
}

static void
the_old_one_is_gone(void **state)
{
    struct takeover_taker t = {.fds = {-1, -1, -1, -1}};
    char why[TAKEOVER_WORDS_MAX];
    int pair[2];

    (void)state;
    for (int asked = 0; asked < 2; asked++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        t.fd = pair[0];
        t.asked = false;
        if (asked == 1)
            assert_int_equal(takeover_ask(&t, why), ERR_AGAIN);
        (void)close(pair[1]); /* without a word, READY unread or not */
        assert_int_equal(takeover_ask(&t, why), ERR_CLOSED);
        takeover_end(&t);
    }
}

/* ---- Reloads ------------------------------------------------------------------------------ */

static void
a_command_is_told_what_came_of_it(void **state)
{
    struct scene *s = scene_new();
    char words[TAKEOVER_WORDS_MAX];

    (void)state;
    s->answers = s->done = true;
    s->words = "charter version 7 is in force";
    assert_int_equal(takeover_reload(s->dir, words), ERR_OK);
    assert_string_equal(words, s->words);
    assert_string_equal(s->path, "");
    s->done = false;
    s->words = "node.jsonc:3: tenants.\"a\": \tis none";
    assert_int_equal(takeover_reload(s->dir, words), ERR_FORBIDDEN);
    assert_string_equal(words, "node.jsonc:3: tenants.\"a\": ?is none");
    takeover_giver_stop(&s->giver);
    assert_int_equal(takeover_reload(s->dir, words), ERR_NOENT);
    assert_non_null(strstr(words, "no process listens"));
    scene_free(s);
}

static void *
ask_for_reload(void *context)
{
    struct scene *s = context;
    char words[TAKEOVER_WORDS_MAX];

    assert_int_equal(takeover_reload(s->dir, words), ERR_FORBIDDEN);
    assert_non_null(strstr(words, "stopping"));
    return NULL;
}

static void
who_waits_is_told_of_the_end(void **state)
{
    struct scene *s = scene_new();
    char words[TAKEOVER_WORDS_MAX];
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, ask_for_reload, s), 0);
    expect_count(s, &s->asked, 1);
    assert_int_equal(takeover_reload(s->dir, words), ERR_FORBIDDEN);
    assert_non_null(strstr(words, "under way"));
    takeover_giver_answer(s->giver, s->serial + 1, true, "another one's");
    takeover_giver_stop(&s->giver);
    (void)pthread_join(thread, NULL);
    scene_free(s);
}

static void
both_processes_reload(void **state)
{
    static const enum takeover_stage all[] = {TAKEOVER_BEGIN, TAKEOVER_SHARE, TAKEOVER_GO,
                                              TAKEOVER_GIVEN};
    struct scene *before = scene_new();
    struct scene *after;
    struct takeover_taker t;
    char why[TAKEOVER_WORDS_MAX];

    (void)state;
    assert_false(takeover_giver_pass(before->giver, "/etc/node.jsonc"));
    assert_false(takeover_giver_want(before->giver));
    take(before, &t);
    assert_int_equal(ask(&t, why), ERR_OK);
    after = scene_after(takeover_serving(&t));
    expect_stages(before, all, 4);
    /* Forward: with its config, and back what came of it. */
    before->answers = true;
    before->words = "the charter has no signature";
    assert_true(takeover_giver_pass(after->giver, "/etc/node.jsonc"));
    expect_count(after, &after->followed, 1);
    assert_int_equal(after->result, ERR_FORBIDDEN);
    assert_string_equal(after->follow_words, before->words);
    assert_string_equal(before->path, "/etc/node.jsonc");
    before->done = true;
    assert_true(takeover_giver_pass(after->giver, "/etc/node.jsonc"));
    expect_count(after, &after->followed, 2);
    assert_int_equal(after->result, ERR_OK);
    /* Back: what reached the old one. */
    assert_true(takeover_giver_want(before->giver));
    expect_count(after, &after->wanted, 1);
    /* Once it has ended there is nobody to follow. */
    before->answers = false;
    assert_true(takeover_giver_pass(after->giver, "/etc/node.jsonc"));
    expect_count(before, &before->asked, 3);
    takeover_giver_stop(&before->giver);
    expect_count(after, &after->followed, 3);
    assert_int_equal(after->result, ERR_CLOSED);
    assert_false(takeover_giver_pass(after->giver, "/etc/node.jsonc"));
    scene_free(after);
    scene_free(before);
}

static int
connect_raw(const struct scene *s)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_true(text_format(at.sun_path, sizeof(at.sun_path), "%s/%s", s->dir, TAKEOVER_SOCKET));
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    return fd;
}

static void
nonsense_is_dropped(void **state)
{
    struct scene *s = scene_new();
    struct takeover_message m;
    struct takeover_taker t;
    uint8_t bytes[TAKEOVER_HEADER + 4];
    int fd = connect_raw(s);

    (void)state;
    assert_int_equal(send(fd, "nonsense", 8, 0), 8);
    assert_int_equal(takeover_receive_within(fd, &m, WAIT_MS), ERR_CLOSED);
    (void)close(fd);
    fd = connect_raw(s); /* READY before HELLO */
    (void)packet(bytes, "PTLNTKOV", TAKEOVER_MSG_READY, 0, 0);
    assert_int_equal(send(fd, bytes, TAKEOVER_HEADER, 0), TAKEOVER_HEADER);
    assert_int_equal(takeover_receive_within(fd, &m, WAIT_MS), ERR_CLOSED);
    (void)close(fd);
    fd = connect_raw(s);
    (void)packet(bytes, "PTLNTKOV", TAKEOVER_MSG_HELLO, 0, 0);
    bytes[8] = TAKEOVER_VERSION + 1;
    assert_int_equal(send(fd, bytes, TAKEOVER_HEADER, 0), TAKEOVER_HEADER);
    assert_int_equal(takeover_receive_within(fd, &m, WAIT_MS), ERR_OK);
    assert_int_equal(m.type, TAKEOVER_MSG_REFUSED);
    assert_non_null(memmem(m.payload, m.len, "another version", 15));
    (void)close(fd);
    take(s, &t);
    takeover_end(&t);
    scene_free(s);
}

/* Sockets that are none, or not those that the mask says. */
static void
wrong_sockets_are_not_taken(void **state)
{
    struct takeover_message m = {.type = TAKEOVER_MSG_SOCKETS, .len = 1};
    int out[TAKEOVER_FD_COUNT] = {-1, -1, -1, -1};
    int plain = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct address at;
    int listening = -1;

    (void)state;
    assert_int_equal(address_parse("127.0.0.1", 0, &at), ERR_OK);
    assert_int_equal(listener_open(&at, &listening), ERR_OK);
    m.payload[0] = 1u << TAKEOVER_PUBLIC;
    m.fds[0] = plain;
    m.fd_count = 1;
    assert_false(takeover_sockets_take(&m, out)); /* it does not listen */
    m.fds[0] = listening;
    m.payload[0] = 1u << TAKEOVER_LOCK;
    assert_false(takeover_sockets_take(&m, out)); /* a socket is no lock */
    m.payload[0] = 1u << TAKEOVER_PUBLIC | 1u << TAKEOVER_ADMIN;
    assert_false(takeover_sockets_take(&m, out)); /* one is missing */
    m.payload[0] = 0;
    assert_false(takeover_sockets_take(&m, out)); /* one is left over */
    m.payload[0] = 1u << TAKEOVER_FD_COUNT;
    assert_false(takeover_sockets_take(&m, out));
    assert_int_equal(out[0], -1);
    m.payload[0] = 1u << TAKEOVER_PUBLIC;
    assert_true(takeover_sockets_take(&m, out));
    assert_int_equal(out[TAKEOVER_PUBLIC], listening);
    assert_int_equal(m.fd_count, 0);
    (void)close(listening);
    (void)close(plain);
}

static void
another_user_is_refused(void **state)
{
    struct scene *s;
    char path[96];
    int status = 0;
    pid_t pid;

    (void)state;
    if (geteuid() != 0)
        skip(); /* only root can be somebody else */
    s = scene_new();
    /* As if the modes of folder and socket were not there. */
    assert_true(text_format(path, sizeof(path), "%s/%s", s->dir, TAKEOVER_SOCKET));
    assert_int_equal(chmod(s->dir, 0755), 0);
    assert_int_equal(chmod(path, 0666), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct takeover_taker t;
        char why[TAKEOVER_WORDS_MAX];

        if (setuid(65534) != 0)
            _exit(2);
        _exit(takeover_begin(&t, s->dir, &s->terms, why) == ERR_FORBIDDEN ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(s->stage_count, 0);
    scene_free(s);
}

static void
a_dead_process_s_socket_is_replaced(void **state)
{
    struct scene *s = scene_new();
    struct takeover_giver *again = NULL;
    struct takeover_taker t;

    (void)state;
    assert_int_equal(takeover_giver_start(&s->opts, &again), ERR_OK);
    take(s, &t);
    takeover_end(&t);
    takeover_giver_stop(&again);
    scene_free(s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed_messages),
        cmocka_unit_test(terms_come_back),
        cmocka_unit_test(terms_that_differ_are_named),
        cmocka_unit_test(a_whole_takeover),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(a_third_is_refused_and_the_next_may),
        cmocka_unit_test(the_old_one_stops_meanwhile),
        cmocka_unit_test(the_old_one_is_gone),
        cmocka_unit_test(a_command_is_told_what_came_of_it),
        cmocka_unit_test(who_waits_is_told_of_the_end),
        cmocka_unit_test(both_processes_reload),
        cmocka_unit_test(nonsense_is_dropped),
        cmocka_unit_test(wrong_sockets_are_not_taken),
        cmocka_unit_test(another_user_is_refused),
        cmocka_unit_test(a_dead_process_s_socket_is_replaced),
    };

    check_never_fatal();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
