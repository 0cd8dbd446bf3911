/* On the guest's side: exceptions that say what csandbox denied. */
#ifndef CSB_DENIED_H
#define CSB_DENIED_H

#include "../common/plan.h"

/* Makes PermissionError and BlockingIOError of this process ask the host
 * whether it was its doing, and say so.  For a zygote: its cells inherit it.
 */
void csb_denied_install(const struct csb_plan *plan);

#endif
