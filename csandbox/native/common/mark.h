/* What filter and cell agree on where there is no PID namespace. */
#ifndef CSB_MARK_H
#define CSB_MARK_H

#include <stdint.h>

/* In an argument that the call does not have: not to be trapped again. */
#define CSB_MARK UINT64_C(0x6d61726b65642121)
#define CSB_MARK_ARG 5

/* Stands in the filter for the cell's number, which the cell puts there. */
#define CSB_PID_PLACEHOLDER 0x7fc5b01du

#endif
