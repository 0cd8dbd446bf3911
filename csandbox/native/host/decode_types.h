/* The closed table of constructors, and the types they make.
 *
 * To let another type cross: a row in decode_types.c, and a build function
 * that checks every argument and charges what it makes. */
#ifndef CSB_DECODE_TYPES_H
#define CSB_DECODE_TYPES_H

#include "decode_state.h"

/* Types of the standard library, imported when first needed.  Owned by the
 * module state; a field is NULL until then. */
struct csb_decode_types {
    PyObject *deque;
    PyObject *deque_append; /* its method, unbound */
    PyObject *defaultdict;
    PyObject *counter;
    PyObject *decimal;
    PyObject *fraction;
    PyObject *uuid;
    PyObject *safe_uuid;
    PyObject *zone_info;
    PyObject *rebuild; /* csandbox.values.rebuild */
    void *datetime;    /* PyDateTime_CAPI, borrowed: the interpreter's */
};

/* For the module's m_traverse, m_clear and m_free; clear also frees the
 * struct and sets the pointer to NULL. */
int csb_decode_types_traverse(struct csb_decode_types *types, visitproc visit,
                              void *arg);
void csb_decode_types_clear(struct csb_decode_types **types);

/* Sets *field to module.name if it is NULL.  Returns it, borrowed, or NULL
 * with ValueError set: the host lacks the module. */
PyObject *csb_decode_import(struct csb_decoder *d, PyObject **field,
                            const char *module, const char *name);

/* Returns the types, made when first needed, or NULL with MemoryError. */
struct csb_decode_types *csb_decode_get_types(struct csb_decoder *d);

/* Makes a value of args, a tuple with a permitted number of items, and fills
 * in all of ret_made, whose object is then a new reference.  Returns 0 or -1
 * with an exception set. */
typedef int (*csb_decode_builder)(struct csb_decoder *d,
                                  const struct csb_entry *args,
                                  struct csb_entry *ret_made);

/* decode_builtin.c */
int csb_decode_build_bytearray(struct csb_decoder *d,
                               const struct csb_entry *args,
                               struct csb_entry *ret_made);
int csb_decode_build_bytes(struct csb_decoder *d, const struct csb_entry *args,
                           struct csb_entry *ret_made);
int csb_decode_build_complex(struct csb_decoder *d,
                             const struct csb_entry *args,
                             struct csb_entry *ret_made);
int csb_decode_build_encode(struct csb_decoder *d,
                            const struct csb_entry *args,
                            struct csb_entry *ret_made);
int csb_decode_build_frozenset(struct csb_decoder *d,
                               const struct csb_entry *args,
                               struct csb_entry *ret_made);
int csb_decode_build_range(struct csb_decoder *d, const struct csb_entry *args,
                           struct csb_entry *ret_made);
int csb_decode_build_set(struct csb_decoder *d, const struct csb_entry *args,
                         struct csb_entry *ret_made);
int csb_decode_build_slice(struct csb_decoder *d, const struct csb_entry *args,
                           struct csb_entry *ret_made);

/* decode_collections.c */
int csb_decode_build_counter(struct csb_decoder *d,
                             const struct csb_entry *args,
                             struct csb_entry *ret_made);
int csb_decode_build_defaultdict(struct csb_decoder *d,
                                 const struct csb_entry *args,
                                 struct csb_entry *ret_made);
int csb_decode_build_deque(struct csb_decoder *d, const struct csb_entry *args,
                           struct csb_entry *ret_made);
int csb_decode_build_ordered(struct csb_decoder *d,
                             const struct csb_entry *args,
                             struct csb_entry *ret_made);
bool csb_decode_is_deque(const struct csb_decoder *d, PyObject *object);
int csb_decode_deque_append(struct csb_decoder *d, PyObject *deque,
                            PyObject *item);

/* decode_numbers.c */
int csb_decode_build_decimal(struct csb_decoder *d,
                             const struct csb_entry *args,
                             struct csb_entry *ret_made);
int csb_decode_build_fraction(struct csb_decoder *d,
                              const struct csb_entry *args,
                              struct csb_entry *ret_made);
int csb_decode_build_uuid(struct csb_decoder *d, const struct csb_entry *args,
                          struct csb_entry *ret_made);

/* What BUILD makes of the state that the stock pickler writes for a UUID. */
int csb_decode_finish_uuid(struct csb_decoder *d, PyObject *uuid_state,
                           struct csb_entry *ret_made);

/* decode_rebuild.c */
int csb_decode_build_rebuilt(struct csb_decoder *d,
                             const struct csb_entry *args,
                             struct csb_entry *ret_made);

/* decode_time.c */
int csb_decode_build_date(struct csb_decoder *d, const struct csb_entry *args,
                          struct csb_entry *ret_made);
int csb_decode_build_datetime(struct csb_decoder *d,
                              const struct csb_entry *args,
                              struct csb_entry *ret_made);
int csb_decode_build_time(struct csb_decoder *d, const struct csb_entry *args,
                          struct csb_entry *ret_made);
int csb_decode_build_timedelta(struct csb_decoder *d,
                               const struct csb_entry *args,
                               struct csb_entry *ret_made);
int csb_decode_build_timezone(struct csb_decoder *d,
                              const struct csb_entry *args,
                              struct csb_entry *ret_made);
int csb_decode_build_zone(struct csb_decoder *d, const struct csb_entry *args,
                          struct csb_entry *ret_made);

/* decode_types.c */

/* The factory type of a row, or NULL. */
PyTypeObject *csb_decode_row_factory(size_t row);
const char *csb_decode_row_name(size_t row);

/* The opcodes GLOBAL, once its names are read, STACK_GLOBAL, REDUCE, NEWOBJ
 * and BUILD, and TUPLE1 if the top of the stack is a name. */
int csb_decode_global(struct csb_decoder *d, const char *module,
                      size_t module_size, const char *name, size_t name_size);
int csb_decode_stack_global(struct csb_decoder *d);
int csb_decode_reduce(struct csb_decoder *d);
int csb_decode_newobj(struct csb_decoder *d);
int csb_decode_finish(struct csb_decoder *d);
int csb_decode_factory(struct csb_decoder *d);

#endif
