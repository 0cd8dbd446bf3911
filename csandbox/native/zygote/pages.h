/* The pages that every cell writes to. */
#ifndef CSB_PAGES_H
#define CSB_PAGES_H

#include <Python.h>

#include "zygote.h"

/* Learns from a fork of this zygote, in which it calls rehearse(), what pages
 * cells write to, and has the kernel copy them in each fork to come; those of
 * files that cells read each fork has from its start (mapped.h).  Returns
 * the descriptor that has it do so, which no cell may keep, or -1 where it
 * cannot be had: then each cell copies them one by one, as it writes. */
int csb_pages_copy_early(const struct csb_zygote *zygote, PyObject *rehearse);

#endif
