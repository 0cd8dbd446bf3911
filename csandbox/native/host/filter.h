/* The system call filter: syscalls.c through libseccomp to BPF. */
#ifndef CSB_FILTER_H
#define CSB_FILTER_H

struct sock_filter;

/* Compiles the filter for this machine's architecture, flags of enum
 * csb_filter_flag.  Returns 0 with a malloc'd program, the caller's to free,
 * and its length in instructions; or -errno.  For the host, before any fork:
 * it allocates. */
int csb_filter_compile(unsigned flags, struct sock_filter **ret_program,
                       unsigned short *ret_length);

#endif
