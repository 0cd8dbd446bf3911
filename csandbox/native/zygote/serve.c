/* The zygote's life: confine, preload, then fork a cell for each request. */
#define _GNU_SOURCE
#include "serve.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../common/fdio.h"
#include "arm.h"
#include "denied.h"
#include "pages.h"

const char csb_serve_doc[] = PyDoc_STR(
    "serve(preload, settle, rehearse, /)\n--\n\n"
    "Be a zygote: confine this process, call preload(names) with the\n"
    "comma-separated names of the packages to import, and fork a cell for\n"
    "each request of the host.  While there is none, call preload(None),\n"
    "until that returns what is false; then settle(quietly), which says\n"
    "whether forks can do without Python's hooks; in a fork of its own\n"
    "rehearse() does what cells will.  Returns in each cell, locked down,\n"
    "whether the pages that jobs write to are copied; never in the zygote,\n"
    "which ends with its host.");

/* Without a request before the first, and between two. */
#define IDLE_MS 30
#define PAUSE_MS 2
/* After so many requests it is worth to keep some others waiting. */
#define BUSY 20

/* Fixed places in the poll set; the runs' status sockets follow. */
enum { POLL_CONTROL, POLL_HOST, POLL_SIGNALS, POLL_RUNS = CSB_RUNS_FIRST };

static void
tell_host(const struct csb_report *report)
{
    if (csb_send(CSB_ZYGOTE_CONTROL, report, sizeof *report, NULL, 0) < 0) {
        _exit(1); /* no host, no zygote */
    }
}

/* Says that this program runs, and waits until its ids are mapped. */
static void
greet_host(void)
{
    struct csb_report hello;
    char byte;
    int none[1], count;

    csb_report_fill(CSB_STEP_BOOT, 0, 0, NULL, &hello);
    tell_host(&hello);
    /* The socket alone may not tell of the host's death: a fork of it may
     * hold the other end. */
    struct pollfd events[] = {{CSB_ZYGOTE_CONTROL, POLLIN, 0},
                              {CSB_ZYGOTE_HOST, POLLIN, 0}};
    if (poll(events, 2, -1) < 0 || events[1].revents != 0 ||
        csb_receive(CSB_ZYGOTE_CONTROL, &byte, sizeof byte, 0, none, &count) !=
            sizeof byte) {
        _exit(1);
    }
}

static int
enter_view(const struct csb_zygote *zygote, struct csb_report *ret_report)
{
    return csb_plan_is_bare(zygote->plan)
               ? csb_bare_check(zygote->plan, ret_report)
               : csb_view_enter(zygote->plan, ret_report);
}

static int
drop_power(const struct csb_zygote *zygote)
{
    return csb_plan_is_bare(zygote->plan) ? csb_bare_drop()
                                          : csb_identity_drop();
}

static int
confine(struct csb_zygote *zygote, struct csb_report *ret_report)
{
    int result = enter_view(zygote, ret_report);
    if (result == 0) {
        result = csb_paths_open(zygote->plan, &zygote->paths, ret_report);
    }
    if (result == 0) {
        result = csb_plan_fault(zygote->plan, CSB_STEP_ZYGOTE_CAPS);
        if (result == 0) {
            result = drop_power(zygote);
        }
        if (result < 0) {
            csb_report_fill(CSB_STEP_ZYGOTE_CAPS, -result, 0, NULL,
                            ret_report);
        }
    }
    return result;
}

void
csb_serve_report_exception(uint32_t step, struct csb_report *ret_report)
{
    PyObject *type, *value, *traceback;
    const char *text = NULL;

    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    PyObject *string = PyObject_Repr(value);
    if (string != NULL) {
        text = PyUnicode_AsUTF8(string);
    }
    csb_report_fill(step, 0, 0, text != NULL ? text : "unknown", ret_report);
    PyErr_Clear();
    Py_XDECREF(string);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
}

/* What Python does for us.  A fork of the host has none, as it has imported
 * what it wants. */
struct helpers {
    PyObject *preload, *settle, *rehearse;
};

/* While nothing is asked of it, the zygote imports what cells may need, one
 * thing after another, which would take longer than the rest of a start.
 * Whether there is more.  A failure is the cells' to meet. */
static int
preload_idly(const struct helpers *helpers)
{
    PyObject *result = PyObject_CallOneArg(helpers->preload, Py_None);
    int more = result != NULL && PyObject_IsTrue(result) > 0;
    PyErr_Clear();
    Py_XDECREF(result);
    return more;
}

/* Those of its cells that can fork need Python's hooks themselves, and a bare
 * one has a number of its own. */
static int
settle(const struct csb_zygote *zygote, const struct helpers *helpers)
{
    const int quietly =
        !zygote->plan->several && !csb_plan_is_bare(zygote->plan);
    PyObject *result = PyObject_CallFunction(helpers->settle, "i", quietly);
    int quiet = result == Py_True;
    PyErr_Clear();
    Py_XDECREF(result);
    return quiet;
}

/* What makes cells cheaper, and takes as long as several of them. */
static void
improve(struct csb_zygote *zygote, const struct helpers *helpers)
{
    zygote->quiet = settle(zygote, helpers);
    csb_close(&zygote->copying);
    zygote->copying = csb_pages_copy_early(zygote, helpers->rehearse);
    csb_filtered_begin(zygote);
}

/* Of what an idle zygote does, one piece; whether there is more. */
static int
use_pause(struct csb_zygote *zygote, const struct helpers *helpers)
{
    if (preload_idly(helpers)) {
        return 1;
    }
    improve(zygote, helpers);
    return 0;
}

static int
preload(const struct csb_zygote *zygote, const struct helpers *helpers,
        struct csb_report *ret_report)
{
    int fault = csb_plan_fault(zygote->plan, CSB_STEP_PRELOAD);
    if (fault < 0) {
        csb_report_fill(CSB_STEP_PRELOAD, -fault, 0, NULL, ret_report);
        return fault;
    }
    if (helpers == NULL) {
        return 0; /* a fork of the host, which has imported what it wants */
    }
    PyObject *result = PyObject_CallFunction(
        helpers->preload, "s",
        csb_plan_string(zygote->plan, zygote->plan->preload_at));
    if (result == NULL) {
        csb_serve_report_exception(CSB_STEP_PRELOAD, ret_report);
        return -EINVAL;
    }
    Py_DECREF(result);
    return 0;
}

/* The environment stands on the stack, where every cell could read it.  (In
 * a fork of the host that is the least of it, and it may stand anywhere, in
 * memory that cannot be written to.) */
static void
clear_environment(const struct csb_zygote *zygote)
{
    char **at = zygote->forked ? NULL : environ;
    for (; at != NULL && *at != NULL; at++) {
        explicit_bzero(*at, strlen(*at));
    }
    (void)clearenv(); /* cannot fail */
}

/* 2 was a pipe to the host for what Python says when it cannot start. */
static int
close_log(void)
{
    return dup2(STDIN_FILENO, STDERR_FILENO) < 0 ? -errno : 0;
}

static void
set_up(struct csb_zygote *zygote, const struct helpers *helpers)
{
    struct csb_report report;

    greet_host();
    int result = csb_boot(zygote, &report);
    csb_boot_watch_host(1);
    if (result == 0) {
        result = confine(zygote, &report);
    }
    if (result == 0) {
        result = preload(zygote, helpers, &report);
    }
    csb_boot_watch_host(0);
    if (result == 0) {
        clear_environment(zygote);
        result = close_log();
        csb_report_fill(result < 0 ? CSB_STEP_BOOT : CSB_STEP_READY, -result,
                        0, NULL, &report);
    }
    tell_host(&report);
    if (result < 0) {
        _exit(1);
    }
}

/* Puts each optional descriptor that came in its place, and -1 in others. */
static void
spread(const struct csb_request *request, int *fds)
{
    int came[CSB_FD_COUNT], *next = &came[CSB_FD_OPTIONAL];
    memcpy(came, fds, sizeof came);
    for (int i = CSB_FD_OPTIONAL; i < CSB_FD_COUNT; i++) {
        fds[i] = request->attached & 1u << i ? *next++ : -1;
    }
}

static int take_request(struct csb_zygote *zygote, struct csb_runs *runs,
                        int socket);

/* The host wants what it has asked for in the sockets of runs now, though
 * these are not over.  1 in the cell, 0 in the zygote. */
static int
take_early(struct csb_zygote *zygote, struct csb_runs *runs)
{
    for (unsigned i = runs->count; i-- > 0;) {
        if (take_request(zygote, runs, runs->run[i].status) == 1) {
            return 1;
        }
    }
    return 0;
}

/* Takes what was asked for in those of runs that are over.  1 in the cell, 0
 * in the zygote. */
static int
take_left(struct csb_zygote *zygote, struct csb_runs *runs)
{
    int socket;
    while ((socket = csb_runs_take_left(runs)) >= 0) {
        /* From here on the host is told that it comes too late. */
        (void)shutdown(socket, SHUT_RD); /* cannot fail */
        if (take_request(zygote, runs, socket) == 1) {
            return 1;
        }
        csb_close(&socket);
    }
    return 0;
}

/* Takes one that waits in a socket.  1 in the cell, 0 in the zygote. */
static int
take_request(struct csb_zygote *zygote, struct csb_runs *runs, int socket)
{
    struct csb_request request;
    int fds[CSB_FD_COUNT], count = 0;

    ssize_t got = csb_receive(socket, &request, sizeof request, CSB_FD_COUNT,
                              fds, &count);
    if (got == -ECONNRESET && socket != CSB_ZYGOTE_CONTROL) {
        /* The host has not read how that run ended, which is told once; its
         * request is still there. */
        got = csb_receive(socket, &request, sizeof request, CSB_FD_COUNT, fds,
                          &count);
    }
    if (socket == CSB_ZYGOTE_CONTROL && (got == 0 || got == -ECONNRESET)) {
        _exit(0); /* the host closed it */
    }
    if (got == sizeof request && request.magic == CSB_NUDGE_MAGIC) {
        return take_early(zygote, runs);
    }
    if (got != sizeof request || request.magic != CSB_REQUEST_MAGIC ||
        count != CSB_FD_OPTIONAL + __builtin_popcount(request.attached)) {
        /* Out of descriptors, say: the host sees its status socket close. */
        for (int i = 0; got >= 0 && i < count; i++) {
            csb_close(&fds[i]);
        }
        return 0;
    }
    request.directory[sizeof request.directory - 1] = '\0';
    spread(&request, fds);
    return csb_arm(zygote, runs, &request, fds);
}

static void
fill_poll_set(const struct csb_zygote *zygote, struct csb_runs *runs)
{
    struct pollfd *events = runs->events;

    events[POLL_CONTROL] = (struct pollfd){CSB_ZYGOTE_CONTROL, POLLIN, 0};
    events[POLL_HOST] = (struct pollfd){CSB_ZYGOTE_HOST, POLLIN, 0};
    events[POLL_SIGNALS] = (struct pollfd){zygote->signals, POLLIN, 0};
    for (unsigned i = 0; i < runs->count; i++) {
        const struct csb_run *run = &runs->run[i];
        events[POLL_RUNS + i] = (struct pollfd){
            run->hung_up ? -1 : run->status, run->given_up ? 0 : POLLRDHUP, 0};
    }
}

static void
drain_signals(int signals)
{
    struct signalfd_siginfo info;
    while (read(signals, &info, sizeof info) == sizeof info) {
    }
}

/* A fork of the host has only one run to see to its end. */
static int
is_done(const struct csb_zygote *zygote, const struct csb_runs *runs,
        unsigned asked)
{
    return zygote->forked && asked > 0 && runs->count == 0;
}

/* Returns in a cell only. */
__attribute__((noinline)) static void
serve(struct csb_zygote *zygote, const struct helpers *helpers)
{
    int timeout = helpers == NULL ? -1 : IDLE_MS;
    unsigned asked = 0;
    struct csb_runs *runs;

    if (csb_runs_make(&runs) < 0) {
        _exit(1);
    }
    struct pollfd *events = runs->events;
    csb_denied_install(zygote->plan);
    for (;;) {
        fill_poll_set(zygote, runs);
        int ready = poll(events, POLL_RUNS + runs->count, timeout);
        if (ready < 0) {
            continue; /* EINTR: stopped and continued */
        }
        if (ready == 0 && helpers != NULL) {
            timeout = use_pause(zygote, helpers) ? 0 : -1;
            continue;
        }
        if (events[POLL_HOST].revents != 0) {
            _exit(0);
        }
        for (unsigned i = runs->count; i-- > 0;) {
            if (events[POLL_RUNS + i].revents & (POLLHUP | POLLERR)) {
                csb_runs_hang_up(runs, i);
            } else if (events[POLL_RUNS + i].revents & POLLRDHUP) {
                csb_runs_give_up(runs, i);
            }
        }
        if (events[POLL_SIGNALS].revents != 0) {
            drain_signals(zygote->signals);
            csb_runs_reap(runs);
            if (take_left(zygote, runs) == 1) {
                return;
            }
        }
        if (events[POLL_CONTROL].revents != 0) {
            if (++asked == BUSY && timeout >= 0 && helpers != NULL) {
                while (use_pause(zygote, helpers)) {
                }
                timeout = -1; /* there may never be a pause */
            }
            /* A first cell is at work, and the host about to want the next. */
            timeout = timeout < 0 ? -1 : PAUSE_MS;
            if (take_request(zygote, runs, CSB_ZYGOTE_CONTROL) == 1) {
                return;
            }
        }
        if (is_done(zygote, runs, asked)) {
            _exit(0);
        }
    }
}

/* Clears what the calls before it left on the stack, where a guest would find
 * it: the numbers of its namespaces, which tell how many others there are, and
 * what the zygote knows of the runs that it has reaped. */
__attribute__((noinline)) static void
clear_stack(void)
{
    char old[4096];
    explicit_bzero(old, sizeof old);
}

PyObject *
csb_serve_method(PyObject *module, PyObject *args)
{
    struct helpers helpers;
    struct csb_zygote zygote = {
        .self = -1, .proc = -1, .statm = -1, .signals = -1, .copying = -1};

    (void)module;
    if (!PyArg_ParseTuple(args, "OOO", &helpers.preload, &helpers.settle,
                          &helpers.rehearse)) {
        return NULL;
    }
    set_up(&zygote, &helpers);
    serve(&zygote, &helpers);
    clear_stack();
    return PyBool_FromLong(zygote.copying >= 0);
}

/* Nobody may find its number given to another process while the host does
 * not have a pidfd of it yet: it ends when the host has let it go. */
__attribute__((noreturn)) static void
await_end(void)
{
    struct pollfd events[] = {{CSB_ZYGOTE_CONTROL, 0, 0},
                              {CSB_ZYGOTE_HOST, POLLIN, 0}};
    while (poll(events, 2, -1) < 0) {
    }
    _exit(1);
}

void
csb_serve_forked(int result, const struct csb_report *report)
{
    struct csb_zygote zygote = {.self = -1,
                                .proc = -1,
                                .statm = -1,
                                .signals = -1,
                                .copying = -1,
                                .forked = 1};

    if (result < 0) {
        tell_host(report);
        await_end();
    }
    set_up(&zygote, NULL);
    serve(&zygote, NULL);
    clear_stack();
}
