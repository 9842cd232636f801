#include "base/check.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "node/node_priv.h"

#include <unistd.h>

/* When the process reloads, and who hears of it.
 *
 *   SIGHUP                                                       the log
 *   `portolan reload` (takeover.h)                               the command
 *   the process that took over from this one, after its own      that process
 *   the process before this one, which got a SIGHUP              nobody: it is asked in its turn
 *
 * One at a time; what is asked for meanwhile is one more. What is in force here is then passed on
 * to the process before this one, and the outcome is told when that one has followed: two
 * processes of a node must not decide by two laws. One that can't follow its successor ends what
 * it still has. A process that has a successor leaves a SIGHUP to it. */

#define PASS_MS 60000 /* for the process before this one to follow */

/* ---- From the giver's thread --------------------------------------------------------------- */

void
node_reload_asked(void *context, uint64_t serial, const char *path)
{
    struct node *n = context;

    (void)pthread_mutex_lock(&n->mail_lock);
    n->mail.asked = true;
    n->mail.serial = serial;
    (void)slice_copy_str(slice_str(path), n->mail.path, sizeof(n->mail.path));
    (void)pthread_mutex_unlock(&n->mail_lock);
    loop_wake(n->loop);
}

void
node_reload_wanted(void *context)
{
    struct node *n = context;

    (void)pthread_mutex_lock(&n->mail_lock);
    n->mail.wanted = true;
    (void)pthread_mutex_unlock(&n->mail_lock);
    loop_wake(n->loop);
}

void
node_reload_followed(void *context, enum err result, const char *words)
{
    struct node *n = context;

    (void)pthread_mutex_lock(&n->mail_lock);
    n->mail.followed = true;
    n->mail.result = result;
    (void)slice_copy_str(slice_str(words), n->mail.words, sizeof(n->mail.words));
    (void)pthread_mutex_unlock(&n->mail_lock);
    loop_wake(n->loop);
}

/* ---- One after the other --------------------------------------------------------------------- */

/* Everything that the reload under way brought is done: whoever asked is told. */
static void
conclude(struct node *n)
{
    struct node_reloads *r = &n->reloads;
    bool done = r->outcome.result == ERR_OK;
    bool owed = r->ask_now;

    r->ask_now = false;
    if (owed)
        takeover_giver_answer(n->giver, r->ask_serial, done, r->outcome.words);
    if (owed && !done && n->given_seen) {
        log_event(LOG_ERROR, "reload.behind",
                  "problem=\"the new process decides by another law\" "
                  "effect=\"this one ends what it has\"");
        node_cut(n);
    }
    atomic_store(&n->busy, BUSY_NO);
    if (r->waits)
        loop_wake(n->loop);
}

static void
start(struct node *n)
{
    struct node_reloads *r = &n->reloads;

    if (r->next_path[0] != '\0')
        (void)slice_copy_str(slice_str(r->next_path), r->path, sizeof(r->path));
    r->next_path[0] = '\0';
    n->reload.handed_over = n->given_seen;
    r->ask_now = r->ask_new;
    r->ask_serial = r->serial;
    r->ask_new = false;
    r->outcome = (struct reload_outcome){.result = reload_start(&n->reload)};
    if (r->outcome.result == ERR_OK)
        return;
    (void)text_format(r->outcome.words, sizeof(r->outcome.words), "%s",
                      err_text(r->outcome.result));
    conclude(n);
}

static void
begin(struct node *n)
{
    int idle = BUSY_NO;

    if (n->takes_over) {
        n->reloads.waits = true; /* both have the same charter until this one serves */
    } else if (atomic_compare_exchange_strong(&n->busy, &idle, BUSY_RELOAD)) {
        start(n);
    } else {
        n->reloads.waits = true;
        if (idle == BUSY_TAKEOVER)
            log_event(LOG_INFO, "reload.waits", "reason=\"another process is taking over\"");
    }
}

static void
begin_or_leave(struct node *n)
{
    if (n->given_seen && takeover_giver_want(n->giver))
        log_event(LOG_INFO, "reload.left", "to=\"the process that took over\"");
    else
        begin(n);
}

void
node_on_hup(void *context)
{
    begin_or_leave(context);
}

/* ---- And the process before this one --------------------------------------------------------- */

/* From wherever that one was started. */
static bool
whole_path(const char *path, char out[CONFIG_PATH_MAX])
{
    char here[CONFIG_PATH_MAX] = "/";

    if (path[0] != '/' && getcwd(here, sizeof(here)) == NULL)
        return false;
    return file_join(out, CONFIG_PATH_MAX, here, path);
}

static void
ended(struct node *n)
{
    struct node_reloads *r = &n->reloads;
    char path[CONFIG_PATH_MAX];

    if (r->outcome.result == ERR_OK && whole_path(r->path, path) &&
        takeover_giver_pass(n->giver, path)) {
        r->passing = true;
        r->passed_at = loop_now(n->loop);
        return;
    }
    conclude(n);
}

static void
followed(struct node *n, enum err result, const char *words)
{
    struct node_reloads *r = &n->reloads;
    struct log_quoted quoted;
    size_t used;

    if (!r->passing)
        return; /* too late: it was given up */
    r->passing = false;
    if (result != ERR_OK && result != ERR_CLOSED) {
        log_event(LOG_ERROR, "reload.not_followed", "by=\"the process before this one\" reason=%s",
                  log_quote(slice_str(words), &quoted));
        used = strlen(r->outcome.words);
        (void)text_format(r->outcome.words + used, sizeof(r->outcome.words) - used,
                          "; the process before this one could not follow: %s", words);
    }
    conclude(n);
}

void
node_reload_tick(struct node *n)
{
    if (n->reloads.passing && mono_ms_since(loop_now(n->loop), n->reloads.passed_at) >= PASS_MS)
        followed(n, ERR_TIMEOUT, "it does not answer");
}

void
node_reload_look(struct node *n)
{
    struct node_reloads *r = &n->reloads;
    struct node_mail mail;

    (void)pthread_mutex_lock(&n->mail_lock);
    mail = n->mail;
    n->mail.asked = n->mail.wanted = n->mail.followed = false;
    (void)pthread_mutex_unlock(&n->mail_lock);
    if (reload_finish(&n->reload, &r->outcome))
        ended(n);
    if (mail.followed)
        followed(n, mail.result, mail.words);
    if (mail.asked) {
        r->ask_new = true;
        r->serial = mail.serial;
        (void)slice_copy_str(slice_str(mail.path), r->next_path, sizeof(r->next_path));
        begin(n);
    }
    if (mail.wanted)
        begin_or_leave(n);
    if (r->waits && !n->takes_over && atomic_load(&n->busy) == BUSY_NO) {
        r->waits = false;
        if (r->ask_new)
            begin(n);
        else
            begin_or_leave(n);
    }
}
