#include "unit/net/scene.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>

#define CLIENTS 24
#define FILLERS_MAX 512

struct play {
    struct scene scene;
    int fd;
    struct listener *listener;
    int clients[CLIENTS];
    size_t client_count;
    int accepted[CLIENTS];
    size_t accepted_count;
    int fillers[FILLERS_MAX];
    size_t filler_count;
    bool asks_for_rest;
    size_t rests;
    size_t seen_at_rest; /* accepted when a turn had ended and the listener rested first */
    uint64_t turns;
    struct rlimit files;
};

static void
on_accept(void *context, int fd)
{
    struct play *p = context;

    assert_true(p->accepted_count < CLIENTS);
    p->accepted[p->accepted_count++] = fd;
    if (p->asks_for_rest && listener_rest(p->listener))
        p->rests++;
}

static void
on_turn(void *context)
{
    struct play *p = context;

    p->turns++;
    if (p->rests == 1 && p->seen_at_rest == 0)
        p->seen_at_rest = p->accepted_count;
}

static void
open_play(struct play *p, size_t clients, size_t spares)
{
    struct address at;
    socklen_t len = sizeof(at.storage);

    memset(p, 0, sizeof(*p));
    scene_open(&p->scene);
    assert_int_equal(address_parse("127.0.0.1", 0, &at), ERR_OK);
    assert_int_equal(listener_open(&at, &p->fd), ERR_OK);
    assert_int_equal(getsockname(p->fd, (struct sockaddr *)&at.storage, &len), 0);
    assert_int_equal(listener_new(p->scene.loop, p->fd, on_accept, p, &p->listener), ERR_OK);
    if (spares > 0)
        assert_int_equal(listener_reserve(p->listener, spares), ERR_OK);
    loop_on_turn_end(p->scene.loop, on_turn, p);
    /* They wait in the kernel's queue until the loop runs. */
    while (p->client_count < clients) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_true(fd >= 0);
        assert_int_equal(connect(fd, (const struct sockaddr *)&at.storage, len), 0);
        p->clients[p->client_count++] = fd;
    }
}

static void
free_fillers(struct play *p, size_t left)
{
    while (p->filler_count > left)
        assert_int_equal(close(p->fillers[--p->filler_count]), 0);
}

/* Takes every descriptor that this process may have. */
static void
exhaust(struct play *p)
{
    struct rlimit few;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &p->files), 0);
    few = p->files;
    few.rlim_cur = 256;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    for (;;) {
        int fd = fcntl(p->fd, F_DUPFD_CLOEXEC, 0);

        if (fd < 0)
            return;
        assert_true(p->filler_count < FILLERS_MAX);
        p->fillers[p->filler_count++] = fd;
    }
}

static void
close_play(struct play *p)
{
    free_fillers(p, 0);
    if (p->files.rlim_cur > 0)
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &p->files), 0);
    listener_free(&p->listener);
    for (size_t i = 0; i < p->accepted_count; i++)
        assert_int_equal(close(p->accepted[i]), 0);
    for (size_t i = 0; i < p->client_count; i++)
        assert_int_equal(close(p->clients[i]), 0);
    assert_int_equal(close(p->fd), 0);
    scene_close(&p->scene);
}

static bool
two_came(void *context)
{
    const struct play *p = context;

    return p->accepted_count == 2;
}

static bool
three_came(void *context)
{
    const struct play *p = context;

    return p->accepted_count == 3;
}

static bool
all_came(void *context)
{
    const struct play *p = context;

    return p->accepted_count == p->client_count;
}

static bool
none_came(void *context)
{
    const struct play *p = context;

    return p->accepted_count == 0 && p->turns >= 20;
}

static void
free_one(void *context)
{
    struct play *p = context;

    free_fillers(p, p->filler_count - 1);
}

static void
free_all(void *context)
{
    free_fillers(context, 0);
}

static void
test_spare_descriptors_serve_when_the_process_has_none_left(void **state)
{
    static const struct scene_step steps[] = {
        {"two came in place of the two spares", NULL, two_came},
        {"a third when a descriptor is free again", free_one, three_came},
        {"and all when all are", free_all, all_came},
    };
    struct play p;

    (void)state;
    open_play(&p, 4, 2);
    exhaust(&p);
    scene_play(&p.scene, steps, ARRAY_COUNT(steps), &p);
    /* It rested meanwhile: a ready socket without descriptors would have spun. */
    assert_true(p.turns < 2000);
    close_play(&p);
}

static void
test_without_descriptors_it_rests_and_goes_on(void **state)
{
    static const struct scene_step steps[] = {
        {"none came without descriptors", NULL, none_came},
        {"all came once there were some", free_all, all_came},
    };
    struct play p;

    (void)state;
    open_play(&p, 3, 0);
    exhaust(&p);
    scene_play(&p.scene, steps, ARRAY_COUNT(steps), &p);
    assert_true(p.turns < 2000);
    close_play(&p);
}

static void
test_a_rest_comes_after_one_turns_share(void **state)
{
    static const struct scene_step steps[] = {{"all came", NULL, all_came}};
    struct play p;

    (void)state;
    open_play(&p, CLIENTS, 0);
    p.asks_for_rest = true;
    scene_play(&p.scene, steps, ARRAY_COUNT(steps), &p);
    assert_int_equal(p.seen_at_rest, LISTENER_ACCEPT_TURN);
    assert_int_equal(p.rests, 2);
    close_play(&p);
}

static void
test_a_reserve_that_there_is_no_room_for_is_an_error(void **state)
{
    struct play p;

    (void)state;
    open_play(&p, 0, 0);
    exhaust(&p);
    free_one(&p);
    assert_int_equal(listener_reserve(p.listener, 2), ERR_FULL);
    close_play(&p);
}

static void
test_an_address_in_use_is_told_from_other_faults(void **state)
{
    struct address at;
    socklen_t len = sizeof(at.storage);
    int first = -1;
    int second = -1;

    (void)state;
    assert_int_equal(address_parse("127.0.0.1", 0, &at), ERR_OK);
    assert_int_equal(listener_open(&at, &first), ERR_OK);
    assert_int_equal(getsockname(first, (struct sockaddr *)&at.storage, &len), 0);
    assert_int_equal(listener_open(&at, &second), ERR_EXIST);
    assert_int_equal(second, -1);
    (void)close(first);
    assert_int_equal(address_parse("203.0.113.1", 1, &at), ERR_OK);
    assert_int_equal(listener_open(&at, &second), ERR_IO);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spare_descriptors_serve_when_the_process_has_none_left),
        cmocka_unit_test(test_without_descriptors_it_rests_and_goes_on),
        cmocka_unit_test(test_a_rest_comes_after_one_turns_share),
        cmocka_unit_test(test_an_address_in_use_is_told_from_other_faults),
        cmocka_unit_test(test_a_reserve_that_there_is_no_room_for_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
