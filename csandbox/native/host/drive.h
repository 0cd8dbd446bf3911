/* Sees a run to its end, for a caller that holds the GIL. */
#ifndef CSB_HOST_DRIVE_H
#define CSB_HOST_DRIVE_H

#include "module.h"
#include "relief.h"
#include "watch.h"

/* Drives the watch until the run is over, gives output to sink(stream, bytes)
 * as it comes, if the watch is streaming, and looks for signals.  0, or -1
 * with an exception when the host wanted it ended. */
int csb_drive(struct csb_watch *watch, struct csb_relief *relief,
              PyObject *sink);

#endif
