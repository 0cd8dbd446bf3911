#include "pace.h"

#define MICROSECOND 1000ll
#define LONGEST_SILENCE (10 * 1000 * MICROSECOND)
/* Of the host's time, answers to one run take one part of so many, once they
 * have taken that much. */
#define SHARE 5
#define CREDIT (200 * 1000 * MICROSECOND)

void
csb_pace_hush(struct csb_pace *pace, int64_t now, int64_t silence)
{
    int64_t until =
        now + (silence < LONGEST_SILENCE ? silence : LONGEST_SILENCE);
    pace->silent = until > pace->silent ? until : pace->silent;
}

void
csb_pace_pay(struct csb_pace *pace, int64_t began, int64_t now)
{
    int64_t paid = (began - pace->asked) / SHARE;

    pace->owed = (pace->owed > paid ? pace->owed - paid : 0) + now - began;
    pace->asked = began;
    if (pace->owed > CREDIT) {
        csb_pace_hush(pace, now, (pace->owed - CREDIT) * SHARE);
    }
}
