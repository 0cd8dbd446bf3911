/* System calls without libc, for code that runs on another process's memory
 * and so has its TLS: no errno, no cancellation points, no locks. */
#ifndef CSB_RAWCALL_H
#define CSB_RAWCALL_H

#include "missing.h"

#if defined(__x86_64__)
static inline long
csb_raw6(long nr, long a, long b, long c, long d, long e, long f)
{
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8),
                       "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
static inline long
csb_raw6(long nr, long a, long b, long c, long d, long e, long f)
{
    register long x8 __asm__("x8") = nr;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory", "cc");
    return x0;
}
#else
#error "csandbox runs on x86-64 and aarch64"
#endif

static inline long
csb_raw(long nr, long a, long b, long c, long d, long e)
{
    return csb_raw6(nr, a, b, c, d, e, 0);
}

/* For functions that run on a stack of their own with foreign TLS. */
#define CSB_FOREIGN_STACK                                                     \
    __attribute__((noinline, no_sanitize("address", "undefined")))

#endif
