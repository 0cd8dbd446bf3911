/* Descriptors: closing them, and messages that carry them. */
#ifndef CSB_FDIO_H
#define CSB_FDIO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Closes *fd unless it is -1, and makes it -1; errno is kept. */
void csb_close(int *fd);

/* The inode of what a descriptor is of, 0 if it is of nothing.  If it is not
 * what it was, somebody has closed the descriptor, and its number is another's
 * now. */
uint64_t csb_inode(int fd);

/* Sends one message with count descriptors, without waiting for room: 0, or
 * -errno, with -EAGAIN when there is none. */
int csb_send(int socket, const void *data, size_t size, const int *fds,
             int count);

/* Receives one message of at most size bytes and exactly the descriptors it
 * carries, at most max of them (O_CLOEXEC, owned by the caller); more than
 * max, or a message cut short, is -EPROTO.  Returns the length, 0 at the end
 * of the stream, or -errno. */
ssize_t csb_receive(int socket, void *data, size_t size, int max, int *ret_fds,
                    int *ret_count);

#endif
