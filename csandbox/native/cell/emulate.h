/* Calls that are trapped and emulated: see emulate.c. */
#ifndef CSB_EMULATE_H
#define CSB_EMULATE_H

#include <sys/stat.h>
#include <sys/utsname.h>

#include "cell.h"

#define CSB_HOSTNAME "sandbox"
/* The longest path, with its NUL: handlers run on small stacks. */
#define CSB_EMULATED_PATH 2048
/* As many numbers as a cell has. */
#define CSB_EMULATED_FDS 256
/* SYS_SECCOMP of <asm-generic/siginfo.h>, which libc lacks. */
#define CSB_SYS_SECCOMP 1
#define CSB_SYS_faccessat2 439

/* What the handler goes by: the guest's own memory. */
struct csb_emulated {
    const struct csb_plan *plan;
    /* What it finds as /tmp, and where names go that it has unlinked; "" if
     * there is none. */
    char directory[CSB_DIRECTORY_ROOM + 8];
    char aside[CSB_DIRECTORY_ROOM + 8];
    struct utsname names;
};

enum csb_place_kind {
    CSB_PLACE_RELATIVE, /* to a directory that it has open */
    CSB_PLACE_SCRATCH,  /* in /tmp */
    CSB_PLACE_VIEW,     /* something that it may read */
    CSB_PLACE_ABOVE,    /* a directory on the way there */
    CSB_PLACE_CLIMBING, /* who knows: by "..", through directories that
                           must look as if they were not there */
};

struct csb_place {
    enum csb_place_kind kind;
    const char *path; /* where it really is */
};

extern struct csb_emulated csb_guest;

/* Whether an absolute path is that of a directory or below it. */
int csb_emulate_lies_in(const char *path, const char *root);

/* Finds out where a path leads, -ENOENT if it is nowhere that the guest may
 * know of; *ret_place may point into room, which has
 * CSB_EMULATED_PATH bytes.  All of these return a result or -errno. */
long csb_emulate_place(const char *path, char *room,
                       struct csb_place *ret_place);

/* What the guest is told when a call on that place had this result. */
long csb_emulate_answer(const struct csb_place *place, long result);

/* openat() that is not trapped, O_CLOEXEC; and close(). */
long csb_emulate_open(int directory, const char *path, long flags, long mode);
void csb_emulate_close(long fd);

long csb_emulate_unlink(int directory, const char *path);
long csb_emulate_rename(int from_directory, const char *from, int to_directory,
                        const char *to, long flags);

#endif
