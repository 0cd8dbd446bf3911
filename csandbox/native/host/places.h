/* The types _csandbox.Places and _csandbox.Place: how many cells may live at
 * once in this process, and whose turn is next. */
#ifndef CSB_HOST_PLACES_H
#define CSB_HOST_PLACES_H

#include "module.h"

extern PyType_Spec csb_places_spec;
extern PyType_Spec csb_place_spec;

#endif
