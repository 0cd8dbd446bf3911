/* Spots: a directory on the host's disk for one run without a mount namespace,
 * which it finds as /tmp.
 *
 * What lies there is hostile: names and trees of any kind.  Nothing in it is
 * followed, and it is looked at while the cell is stopped. */
#ifndef CSB_SPOT_H
#define CSB_SPOT_H

#include <stdint.h>
#include <sys/types.h>

#define CSB_SPOT_NAME 32
/* Of tmp and gone. */
#define CSB_SPOT_OWN_FILES 2
#define CSB_SPOT_OWN_BYTES 8192

struct csb_spot {
    int base;                 /* the directory that it is in; -1: no spot */
    int fd;                   /* itself */
    char name[CSB_SPOT_NAME]; /* in there */
    uint64_t bytes_limit;
    uint64_t files_limit;
};

#define CSB_SPOT_NOTHING {.base = -1, .fd = -1}

/* Makes one in an open directory, for a user or, with 0, for this one. */
int csb_spot_make(int base, const char *name, uid_t uid,
                  struct csb_spot *ret_spot);

/* Bytes and files in it; -E2BIG when it is deeper or has more files than
 * somebody could look at.  The cell must not run meanwhile. */
int csb_spot_measure(const struct csb_spot *spot, uint64_t *ret_bytes,
                     uint64_t *ret_files);

/* Removes it with all that is in it; nobody may use it any more.  It is left
 * to be swept if that fails. */
void csb_spot_remove(struct csb_spot *spot);

/* Only closes it: in a fork of its owner. */
void csb_spot_forget(struct csb_spot *spot);

/* Removes what a spot, or a directory of them, has become; 0 or -errno. */
int csb_spot_clear(int base, const char *name);

#endif
