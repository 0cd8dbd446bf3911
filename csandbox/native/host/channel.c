/* The pipes and sockets between host and cell, made and sent to the zygote. */
#define _GNU_SOURCE
#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../common/fdio.h"
#include "../common/store.h"

/* Bytes that a guest can print without waiting for the host. */
#define PRINTED (256 * 1024)

/* A pipe of which the host keeps one end, which does not block. */
static int
open_pipe(int host_end, int *ret_host, int *ret_cell)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) {
        return -errno;
    }
    *ret_host = ends[host_end];
    *ret_cell = ends[1 - host_end];
    return fcntl(*ret_host, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

static int
open_channel(struct csb_watch *watch, uint64_t store_size, int *fds)
{
    int sockets[2];
    int result = open_pipe(1, &watch->input.fd, &fds[CSB_FD_STDIN]);
    if (result == 0) {
        result = open_pipe(0, &watch->streams[0].fd, &fds[CSB_FD_STDOUT]);
    }
    if (result == 0) {
        /* EPERM: this user has too much in pipes.  Then a guest that prints
         * much waits for the host now and then. */
        (void)fcntl(watch->streams[0].fd, F_SETPIPE_SZ, PRINTED);
    }
    if (result == 0) {
        result = open_pipe(0, &watch->streams[1].fd, &fds[CSB_FD_STDERR]);
    }
    if (result == 0) {
        result = open_pipe(1, &watch->job.fd, &fds[CSB_FD_JOB]);
    }
    if (result == 0) {
        result = open_pipe(0, &watch->result, &fds[CSB_FD_RESULT]);
    }
    if (result == 0) {
        result = csb_store_make(store_size, &watch->store, &store_size);
    }
    if (result < 0) {
        return result;
    }
    watch->store_size = (size_t)store_size;
    watch->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (watch->wake < 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0) {
        return -errno;
    }
    watch->status = sockets[0];
    watch->socket = csb_inode(watch->status);
    fds[CSB_FD_STATUS] = sockets[1];
    return fcntl(watch->status, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

/* Sends the request, with those optional descriptors that there are. */
static int
send_request(int control, struct csb_request *request, const int *fds)
{
    int attached[CSB_FD_COUNT], count = CSB_FD_OPTIONAL;

    memcpy(attached, fds, sizeof attached);
    for (int i = CSB_FD_OPTIONAL; i < CSB_FD_COUNT; i++) {
        if (fds[i] >= 0) {
            attached[count++] = fds[i];
            request->attached |= 1u << i;
        }
    }
    return csb_send(control, request, sizeof *request, attached, count);
}

int
csb_channel_ask(struct csb_watch *watch, int control,
                struct csb_request *request, uint64_t store, int inputs,
                int cgroup)
{
    int fds[CSB_FD_COUNT];

    for (int i = 0; i < CSB_FD_COUNT; i++) {
        fds[i] = -1;
    }
    fds[CSB_FD_CGROUP] = cgroup;
    int result = open_channel(watch, store, fds);
    if (result == 0) {
        fds[CSB_FD_STORE] = watch->store;
        fds[CSB_FD_INPUTS] = inputs;
        result = send_request(control, request, fds);
    }
    fds[CSB_FD_STORE] = fds[CSB_FD_INPUTS] = -1; /* not this function's */
    for (int i = 0; i < CSB_FD_COUNT; i++) {
        csb_close(&fds[i]);
    }
    return result;
}

void
csb_channel_forget_lost(struct csb_watch *watch)
{
    int *const fds[] = {
        &watch->status,        &watch->result,        &watch->store,
        &watch->inputs,        &watch->wake,          &watch->relief,
        &watch->init,          &watch->cell,          &watch->notify.listener,
        &watch->scratch,       &watch->job.fd,        &watch->input.fd,
        &watch->streams[0].fd, &watch->streams[1].fd,
    };
    if (watch->status < 0 || csb_inode(watch->status) == watch->socket) {
        return;
    }
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
        *fds[i] = -1;
    }
    watch->exited = 1;
}
