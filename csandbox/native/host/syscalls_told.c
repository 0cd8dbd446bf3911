/* Questions about the table of system calls. */
#include <string.h>

#include "../common/denials.h"
#include "syscalls.h"

bool
csb_syscall_find(const char *name, unsigned filter,
                 struct csb_syscall_rule *ret_rule)
{
    for (const struct csb_syscall_group *group = csb_syscall_groups;
         group->name != NULL; group++) {
        if (!csb_syscall_group_applies(group, filter)) {
            continue;
        }
        for (const struct csb_syscall_rule *rule = group->rules;
             rule->name != NULL; rule++) {
            if (strcmp(rule->name, name) == 0) {
                *ret_rule = csb_syscall_rule_for(filter, rule);
                return true;
            }
        }
    }
    return false;
}

bool
csb_syscall_is_asked(const char *name, unsigned filter)
{
    return (filter & CSB_FILTER_SEVERAL) != 0 &&
           (strcmp(name, "clone") == 0 || strcmp(name, "fork") == 0 ||
            strcmp(name, "vfork") == 0);
}

bool
csb_syscall_is_told(const struct csb_syscall_rule *rule)
{
    return rule->fate != CSB_ALLOW && rule->fate != CSB_TRAP &&
           rule->err != CSB_ELSE_TRAP && csb_denial_find(rule->name) != NULL;
}
