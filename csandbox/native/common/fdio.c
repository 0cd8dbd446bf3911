#include "fdio.h"

#include "frames.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_FDS 12
_Static_assert(CSB_FD_COUNT <= MAX_FDS, "a request carries all at once");

uint64_t
csb_inode(int fd)
{
    struct stat info;
    return fd >= 0 && fstat(fd, &info) == 0 ? info.st_ino : 0;
}

void
csb_close(int *fd)
{
    if (*fd >= 0) {
        int saved = errno;
        (void)close(*fd); /* nothing to do: the number is free either way */
        errno = saved;
        *fd = -1;
    }
}

int
csb_send(int socket, const void *data, size_t size, const int *fds, int count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * MAX_FDS)];
    } control;
    struct iovec iov = {.iov_base = (void *)data, .iov_len = size};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t sent;

    if (count > MAX_FDS) {
        return -EINVAL;
    }
    if (count > 0) {
        memset(&control, 0, sizeof control);
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)count);
        memcpy(CMSG_DATA(header), fds, sizeof(int) * (size_t)count);
    }
    do {
        sent = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) {
        return -errno;
    }
    return (size_t)sent == size ? 0 : -EPROTO;
}

static void
take_fds(struct msghdr *message, int max, int *fds, int *count, int *excess)
{
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header != NULL;
         header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level != SOL_SOCKET ||
            header->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        size_t n = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
            if (*count < max) {
                fds[(*count)++] = fd;
            } else {
                csb_close(&fd);
                *excess = 1;
            }
        }
    }
}

ssize_t
csb_receive(int socket, void *data, size_t size, int max, int *ret_fds,
            int *ret_count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * MAX_FDS)];
    } control;
    struct iovec iov = {.iov_base = data, .iov_len = size};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    int fds[MAX_FDS], count = 0, excess = 0;
    ssize_t got;

    do {
        got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return -errno;
    }
    take_fds(&message, max < MAX_FDS ? max : MAX_FDS, fds, &count, &excess);
    if (excess || (message.msg_flags & (MSG_CTRUNC | MSG_TRUNC))) {
        for (int i = 0; i < count; i++) {
            csb_close(&fds[i]);
        }
        return -EPROTO;
    }
    memcpy(ret_fds, fds, sizeof(int) * (size_t)count);
    *ret_count = count;
    return got;
}
