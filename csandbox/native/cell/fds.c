/* The five descriptors of a cell, and no other. */
#define _GNU_SOURCE
#include "cell.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../common/missing.h"

int
csb_fds_place(const struct csb_cell *cell)
{
    static const struct {
        int from; /* enum csb_run_fd */
        int to;
    } places[] = {
        {CSB_FD_STDIN, STDIN_FILENO},   {CSB_FD_STDOUT, STDOUT_FILENO},
        {CSB_FD_STDERR, STDERR_FILENO}, {CSB_FD_RESULT, CSB_CELL_RESULT},
        {CSB_FD_JOB, CSB_CELL_JOB},
    };
    /* The zygote's own hold the low numbers, so none is in the way. */
    for (unsigned i = 0; i < sizeof places / sizeof *places; i++) {
        if (dup2(cell->fds[places[i].from], places[i].to) < 0) {
            return -errno;
        }
    }
    return syscall(SYS_close_range, CSB_CELL_FDS, ~0U, 0) < 0 ? -errno : 0;
}
