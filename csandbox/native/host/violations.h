/* What a run was denied, as its listener tells the host.  Of the guest's side
 * only where in its program that was comes from itself: a line and a name of
 * a file, which are text and no more. */
#ifndef CSB_VIOLATIONS_H
#define CSB_VIOLATIONS_H

#include <stdint.h>
#include <sys/types.h>

#include "../common/denials.h"

/* Different ones that are told apart; the rest is only counted. */
#define CSB_VIOLATIONS_MAX 64

struct csb_violation {
    const struct csb_denial *denial;
    uint64_t arguments[CSB_DENIAL_ARGS];
    uint64_t count;
    int number;    /* of the call */
    int err;       /* its answer; 0: it ended the run */
    uint32_t line; /* 0: not known */
    char file[CSB_QUESTION_FILE_SIZE + 1]; /* printable ASCII */
};

/* Threads that were denied something a moment ago, and may ask about it. */
#define CSB_DENIED_MAX 32

struct csb_denied {
    pid_t thread; /* 0: none */
    int64_t when;
    struct csb_violation violation; /* a copy */
    int index;                      /* of the original; -1: of the rest */
};

struct csb_violations {
    unsigned count;
    uint64_t rest; /* denials beyond */
    unsigned next; /* place in denied */
    struct csb_violation entry[CSB_VIOLATIONS_MAX];
    struct csb_denied denied[CSB_DENIED_MAX];
};

/* Notes that a thread was denied a call. */
void csb_violations_note(struct csb_violations *violations, pid_t thread,
                         const struct csb_violation *violation, int64_t now);

/* Answers a question, of which these are the arguments. */
int64_t csb_violations_answer(struct csb_violations *violations, pid_t thread,
                              const uint64_t *arguments, int64_t now);

#endif
