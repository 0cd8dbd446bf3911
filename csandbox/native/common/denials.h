/* The denied system calls that matter to a person: why, and in which words.
 * Not those that libraries try as a matter of course and go on without. */
#ifndef CSB_DENIALS_H
#define CSB_DENIALS_H

#include <stddef.h>
#include <stdint.h>

/* prctl() of this option asks the host whether it was its doing that the last
 * call of this thread failed: enum csb_question says with what.  The kernel
 * has no such option. */
#define CSB_QUESTION 0x43534251
enum csb_question {
    CSB_QUESTION_OPTION,
    CSB_QUESTION_ERROR, /* errno, and from bit 32 the line */
    CSB_QUESTION_FILE,  /* the end of the file's name, as text */
};
#define CSB_QUESTION_FILE_SIZE 32
/* The answer is 0 for no, or the call's number + 1, its first and its second
 * argument, of so many bits each. */
#define CSB_ANSWER_NUMBER_BITS 12
#define CSB_ANSWER_FIRST_BITS 31
#define CSB_ANSWER_SECOND_BITS 20

#define CSB_DENIAL_ARGS 2
/* More than any description takes. */
#define CSB_DENIAL_ROOM 256

/* What an argument is, so that it can be told. */
enum csb_denial_kind {
    CSB_KIND_UNTOLD, /* a pointer, say; with no meaning outside */
    CSB_KIND_NUMBER,
    CSB_KIND_FAMILY, /* of addresses */
    CSB_KIND_SOCKET, /* type of a socket */
    CSB_KIND_SIGNAL,
    CSB_KIND_CLONE, /* flags */
};

/* What else decides whether a policy would permit it. */
enum csb_denial_where {
    CSB_DENIAL_LIMITED = 1, /* there were too many already */
    CSB_DENIAL_BARE = 2,    /* there are no namespaces */
    CSB_DENIAL_COMPUTE = 4, /* it may only compute */
};

struct csb_denial {
    const char *name;         /* of the call; NULL: end of the table */
    const char *category;     /* one word */
    const char *permitted_by; /* field of a policy, or NULL */
    enum csb_denial_kind kinds[CSB_DENIAL_ARGS];
};

/* The field of a policy that would permit it there, or NULL. */
const char *csb_denial_field(const struct csb_denial *denial, unsigned where);

/* The entry of a call, or NULL if its denials are not told. */
const struct csb_denial *csb_denial_find(const char *name);

/* An argument as far as it can be told; 0 if it cannot. */
uint64_t csb_denial_argument(const struct csb_denial *denial, unsigned index,
                             uint64_t value);

/* Writes the arguments as text, such as "AF_INET, SOCK_STREAM". */
void csb_denial_arguments(const struct csb_denial *denial,
                          const uint64_t *arguments,
                          char ret_text[CSB_DENIAL_ROOM]);

/* Writes what a person is told: "csandbox denied NAME(ARGUMENTS): REASON". */
void csb_denial_describe(const struct csb_denial *denial,
                         const uint64_t *arguments, unsigned where,
                         char ret_text[CSB_DENIAL_ROOM]);

/* Why, and what would permit it. */
const char *csb_denial_reason(const struct csb_denial *denial, unsigned where);

#endif
