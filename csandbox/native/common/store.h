/* Stores: memfds of the host's for what is too large for a pipe.
 *
 * A result's store is made empty and of its full size, is written by the
 * cell, and is read only when it is sealed: from then on nobody, whatever
 * descriptor or mapping of it they have, can change it.
 *
 * Filling a memfd page by page takes five times as long as copying to it, and
 * reading it page by page takes longer than that.  Huge pages cost little,
 * but kernels are mostly told not to use them for memfds by themselves;
 * MADV_COLLAPSE (madvise(2), Linux 6.1), which cells may not use, is the way
 * to ask.  So a cell that has much to write asks the host, which takes huge
 * pages piece by piece while the cell fills them. */
#ifndef CSB_STORE_H
#define CSB_STORE_H

#include <stddef.h>
#include <stdint.h>

#define CSB_HUGE_PAGE ((size_t)2 << 20)
#define CSB_STORE_NAME "csandbox-store"
#define CSB_RESERVE_PIECES 1024 /* the most: an answer of a byte each */

/* The size of the pieces in which so many bytes are reserved, whole huge
 * pages, of which the last may be cut short. */
size_t csb_store_piece(size_t size);

/* An empty memfd that can be sealed and not executed; the caller's to close.
 * 0 or -errno, as below. */
int csb_store_create(const char *name, int *ret_fd);

/* A store of that many bytes, all 0, that can neither grow nor shrink; the
 * caller's to close.  Smaller if this process may not make so large a file;
 * ret_size is what it became. */
int csb_store_make(uint64_t size, int *ret_fd, uint64_t *ret_size);

/* Gives an empty one that size, or the greatest that this process may make. */
int csb_store_resize(int fd, uint64_t size, uint64_t *ret_size);

/* Takes huge pages for what lies between two multiples of their size, or as
 * far as the last whole one.  What is there stays. */
int csb_store_reserve(int fd, size_t from, size_t to);

/* The same for one huge page of a mapping. */
int csb_store_make_huge(char *page);

/* Makes it unchangeable.  -EBUSY if somebody has it mapped for writing. */
int csb_store_seal(int fd);

/* Maps size bytes (at least 1) from a multiple of the huge pages' size on,
 * where huge pages fit; not inherited by forks if it is writable, but forks
 * must be kept out until it returns. */
int csb_store_map(int fd, size_t from, size_t size, int writable,
                  void **ret_memory);
void csb_store_unmap(void *memory, size_t size);

#endif
