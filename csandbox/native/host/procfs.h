/* Small files of /proc. */
#ifndef CSB_PROCFS_H
#define CSB_PROCFS_H

#include <stdint.h>
#include <sys/types.h>

/* As much of a file as there is room for, ended by NUL; its length or
 * -errno. */
ssize_t csb_procfs_read(const char *path, char *text, size_t room);

/* The number behind a name, or -1 if the name is not there. */
int64_t csb_procfs_number(const char *text, const char *name);

#endif
