#include "violations.h"

#include <string.h>

/* An exception is made soon after the call that it is about.  Older, they
 * need not belong together. */
#define FRESH 1000000000ll

static int
is_same(const struct csb_violation *one, const struct csb_violation *other)
{
    return one->number == other->number && one->err == other->err &&
           memcmp(one->arguments, other->arguments, sizeof one->arguments) ==
               0;
}

/* Its place, -1 if there is none left. */
static int
find_place(struct csb_violations *violations,
           const struct csb_violation *violation)
{
    for (unsigned i = 0; i < violations->count; i++) {
        if (is_same(&violations->entry[i], violation)) {
            return (int)i;
        }
    }
    if (violations->count == CSB_VIOLATIONS_MAX) {
        return -1;
    }
    violations->entry[violations->count] = *violation;
    violations->entry[violations->count].count = 0;
    return (int)violations->count++;
}

static struct csb_denied *
find_denied(struct csb_violations *violations, pid_t thread)
{
    for (unsigned i = 0; i < CSB_DENIED_MAX; i++) {
        if (violations->denied[i].thread == thread) {
            return &violations->denied[i];
        }
    }
    return NULL;
}

void
csb_violations_note(struct csb_violations *violations, pid_t thread,
                    const struct csb_violation *violation, int64_t now)
{
    int index = find_place(violations, violation);
    if (index >= 0) {
        violations->entry[index].count++;
    } else {
        violations->rest++;
    }
    struct csb_denied *denied = find_denied(violations, thread);
    if (denied == NULL) {
        denied = &violations->denied[violations->next++ % CSB_DENIED_MAX];
    }
    *denied = (struct csb_denied){
        .thread = thread,
        .when = now,
        .violation = *violation,
        .index = index,
    };
}

/* The guest's words: made printable, whatever they are. */
static void
take_place(struct csb_violation *violation, const uint64_t *arguments)
{
    char file[CSB_QUESTION_FILE_SIZE];

    memcpy(file, &arguments[CSB_QUESTION_FILE], sizeof file);
    violation->line = (uint32_t)(arguments[CSB_QUESTION_ERROR] >> 32);
    for (unsigned i = 0; i < sizeof file && file[i] != '\0'; i++) {
        violation->file[i] = file[i] >= ' ' && file[i] <= '~' ? file[i] : '?';
    }
}

static int64_t
pack(const struct csb_violation *violation)
{
    const uint64_t first = (1ull << CSB_ANSWER_FIRST_BITS) - 1;
    const uint64_t second = (1ull << CSB_ANSWER_SECOND_BITS) - 1;

    return (int64_t)((uint64_t)(violation->number + 1) |
                     (violation->arguments[0] & first)
                         << CSB_ANSWER_NUMBER_BITS |
                     (violation->arguments[1] & second)
                         << (CSB_ANSWER_NUMBER_BITS + CSB_ANSWER_FIRST_BITS));
}

int64_t
csb_violations_answer(struct csb_violations *violations, pid_t thread,
                      const uint64_t *arguments, int64_t now)
{
    struct csb_denied *denied = find_denied(violations, thread);
    int err = (int)(uint32_t)arguments[CSB_QUESTION_ERROR];

    if (denied == NULL) {
        return 0;
    }
    denied->thread = 0; /* one question each */
    if (denied->violation.err != err || now - denied->when > FRESH ||
        denied->violation.number >= 1 << CSB_ANSWER_NUMBER_BITS) {
        return 0;
    }
    if (denied->index >= 0 && violations->entry[denied->index].line == 0) {
        take_place(&violations->entry[denied->index], arguments);
    }
    return pack(&denied->violation);
}
