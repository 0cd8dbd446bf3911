/* The pages of files that every cell reads. */
#ifndef CSB_MAPPED_H
#define CSB_MAPPED_H

#include "pagemap.h"
#include "zygote.h"

/* In an example of a cell, a fork that ends soon: from here on csb_mapped_note
 * can tell what it reads, and not only what lies near that.  Where the kernel
 * cannot do so, it tells both.  Holds descriptors until the process ends. */
void csb_mapped_watch(const struct csb_zygote *zygote);

/* Adds the pages of mapped files that this process has, but not those that it
 * could write to. */
void csb_mapped_note(const struct csb_zygote *zygote,
                     const struct csb_pagemap *pagemap,
                     struct csb_pages *pages);

/* Has each fork to come begin with these pages, and with no others of the same
 * mappings.  Changes what faults there are, and nothing that is mapped: where
 * the kernel cannot do it, or this process has other threads, forks meet the
 * faults. */
void csb_mapped_hand_down(const struct csb_zygote *zygote,
                          const struct csb_pages *read);

#endif
