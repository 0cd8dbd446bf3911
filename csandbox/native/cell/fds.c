/* The descriptors of a cell, and no other. */
#define _GNU_SOURCE
#include "cell.h"

#include <errno.h>
#include <fcntl.h>
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
        {CSB_FD_STDIN, STDIN_FILENO},     {CSB_FD_STDOUT, STDOUT_FILENO},
        {CSB_FD_STDERR, STDERR_FILENO},   {CSB_FD_RESULT, CSB_CELL_RESULT},
        {CSB_FD_JOB, CSB_CELL_JOB},       {CSB_FD_STORE, CSB_CELL_STORE},
        {CSB_FD_INPUTS, CSB_CELL_INPUTS},
    };
    int without_inputs = cell->fds[CSB_FD_INPUTS] < 0;
    /* A program that the guest executes gets the streams alone.
     *
     * The zygote's own hold the lowest numbers, and what came first got the
     * lower ones: so none that is still needed is in the way. */
    for (unsigned i = 0; i < sizeof places / sizeof *places; i++) {
        if (places[i].from == CSB_FD_INPUTS && without_inputs) {
            (void)close(CSB_CELL_INPUTS); /* the zygote's */
        } else if (dup3(cell->fds[places[i].from], places[i].to,
                        places[i].to > STDERR_FILENO ? O_CLOEXEC : 0) < 0) {
            return -errno;
        }
    }
    if (dup3(cell->readback->status, CSB_CELL_STATUS, O_CLOEXEC) < 0) {
        return -errno;
    }
    return syscall(SYS_close_range, CSB_CELL_STATUS + 1, ~0U, 0) < 0 ? -errno
                                                                     : 0;
}
