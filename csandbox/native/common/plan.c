#include "plan.h"

#include <errno.h>
#include <linux/filter.h>
#include <string.h>

static int
string_inside(const struct csb_plan *plan, uint32_t at)
{
    return at < plan->size &&
           memchr((const char *)plan + at, 0, plan->size - at) != NULL;
}

static int
array_inside(const struct csb_plan *plan, uint32_t at, uint32_t count,
             size_t item)
{
    return at <= plan->size && count <= (plan->size - at) / item;
}

static int
filter_inside(const struct csb_plan *plan, uint32_t at, uint32_t count)
{
    return array_inside(plan, at, count, sizeof(struct sock_filter)) &&
           count <= BPF_MAXINSNS;
}

int
csb_plan_check(const struct csb_plan *plan, size_t size)
{
    if (size < sizeof *plan || plan->magic != CSB_PLAN_MAGIC ||
        plan->size != size) {
        return -EINVAL;
    }
    if (csb_plan_is_bare(plan) &&
        (plan->mechanisms & CSB_MECH_NAMESPACES) != 0) {
        return -EINVAL;
    }
    if (!array_inside(plan, plan->view_at, plan->view_count,
                      sizeof(struct csb_view_entry)) ||
        !filter_inside(plan, plan->filter_at, plan->filter_count) ||
        !filter_inside(plan, plan->told_at, plan->told_count) ||
        !filter_inside(plan, plan->listener_at, plan->listener_count) ||
        !filter_inside(plan, plan->own_at, plan->own_count) ||
        !string_inside(plan, plan->preload_at)) {
        return -EINVAL;
    }
    const struct csb_view_entry *view = csb_plan_view(plan);
    for (uint32_t i = 0; i < plan->view_count; i++) {
        if (!string_inside(plan, view[i].source_at) ||
            !string_inside(plan, view[i].target_at) ||
            *csb_plan_string(plan, view[i].target_at) != '/') {
            return -EINVAL;
        }
    }
    return 0;
}

const char *
csb_plan_string(const struct csb_plan *plan, uint32_t at)
{
    return (const char *)plan + at;
}

const struct csb_view_entry *
csb_plan_view(const struct csb_plan *plan)
{
    return (const void *)((const char *)plan + plan->view_at);
}

const struct sock_filter *
csb_plan_filter(const struct csb_plan *plan)
{
    return (const void *)((const char *)plan + plan->filter_at);
}

const struct sock_filter *
csb_plan_told(const struct csb_plan *plan)
{
    return (const void *)((const char *)plan + plan->told_at);
}

const struct sock_filter *
csb_plan_own(const struct csb_plan *plan)
{
    return (const void *)((const char *)plan + plan->own_at);
}

const struct sock_filter *
csb_plan_listener(const struct csb_plan *plan)
{
    return (const void *)((const char *)plan + plan->listener_at);
}

int
csb_plan_fault(const struct csb_plan *plan, uint32_t step)
{
    return plan->fault_step == step ? -plan->fault_errno : 0;
}
