#define _GNU_SOURCE
#include "relief.h"

#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../common/fdio.h"
#include "watch.h"

#define STACK (256 * 1024)

/* --- the stand-in -------------------------------------------------------- */

static void
supervise(struct csb_watch *watch)
{
    enum csb_news news;
    do {
        news = csb_watch_next(watch);
    } while (news != CSB_NEWS_RELIEVED && news != CSB_NEWS_DONE);
}

static void *
stand_in(void *argument)
{
    struct csb_relief *relief = argument;

    (void)pthread_mutex_lock(&relief->lock); /* valid, so it cannot fail */
    while (relief->duty != CSB_DUTY_QUIT) {
        if (relief->duty == CSB_DUTY_NONE) {
            (void)pthread_cond_wait(&relief->changed, &relief->lock);
            continue;
        }
        relief->duty = CSB_DUTY_TAKEN;
        (void)pthread_mutex_unlock(&relief->lock);
        supervise(relief->watch);
        (void)pthread_mutex_lock(&relief->lock);
        relief->duty = CSB_DUTY_NONE;
        (void)pthread_cond_signal(&relief->changed);
    }
    (void)pthread_mutex_unlock(&relief->lock);
    return NULL;
}

/* Signals are for the host's own threads. */
static int
create(struct csb_relief *relief, const pthread_attr_t *attributes)
{
    sigset_t all, saved;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &saved);
    int error = pthread_create(&relief->thread, attributes, stand_in, relief);
    (void)pthread_sigmask(SIG_SETMASK, &saved, NULL);
    return -error;
}

static int
start(struct csb_relief *relief)
{
    pthread_attr_t attributes;

    int result = -pthread_attr_init(&attributes);
    if (result < 0) {
        return result;
    }
    result = -pthread_attr_setstacksize(&attributes, STACK);
    if (result == 0) {
        result = create(relief, &attributes);
    }
    (void)pthread_attr_destroy(&attributes);
    return result;
}

static int
prepare(struct csb_relief *relief, struct csb_watch *watch)
{
    if (relief->owner != 0) {
        return relief->owner == getpid() ? 0 : -ECHILD;
    }
    if (watch->relief < 0) {
        watch->relief = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    if (watch->relief < 0) {
        return -errno;
    }
    relief->watch = watch;
    relief->lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    relief->changed = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    relief->duty = CSB_DUTY_NONE;
    int result = start(relief);
    if (result == 0) {
        relief->owner = getpid();
    }
    return result;
}

/* --- its caller ---------------------------------------------------------- */

void
csb_relief_begin(struct csb_relief *relief, struct csb_watch *watch)
{
    if (prepare(relief, watch) < 0) {
        return;
    }
    (void)pthread_mutex_lock(&relief->lock);
    watch->unattended = 1;
    relief->duty = CSB_DUTY_OFFERED;
    (void)pthread_cond_signal(&relief->changed);
    (void)pthread_mutex_unlock(&relief->lock);
}

/* Until it has stepped back; the event is taken back then. */
static void
call_back(struct csb_relief *relief)
{
    eventfd_t event;
    /* A first event always has room, and is there to be read. */
    (void)eventfd_write(relief->watch->relief, 1);
    while (relief->duty == CSB_DUTY_TAKEN) {
        (void)pthread_cond_wait(&relief->changed, &relief->lock);
    }
    (void)eventfd_read(relief->watch->relief, &event);
}

void
csb_relief_end(struct csb_relief *relief)
{
    if (relief->owner == 0) {
        return;
    }
    if (relief->owner == getpid()) {
        (void)pthread_mutex_lock(&relief->lock);
        if (relief->duty == CSB_DUTY_TAKEN) {
            call_back(relief);
        }
        relief->duty = CSB_DUTY_NONE;
        (void)pthread_mutex_unlock(&relief->lock);
    }
    relief->watch->unattended = 0;
}

void
csb_relief_close(struct csb_relief *relief)
{
    if (relief->owner == 0 || relief->owner != getpid()) {
        return;
    }
    (void)pthread_mutex_lock(&relief->lock);
    relief->duty = CSB_DUTY_QUIT;
    (void)pthread_cond_signal(&relief->changed);
    (void)pthread_mutex_unlock(&relief->lock);
    (void)pthread_join(relief->thread, NULL);
    (void)pthread_cond_destroy(&relief->changed);
    (void)pthread_mutex_destroy(&relief->lock);
    relief->owner = 0;
}
