/* Reading the bytes of a pickle: never beyond them, nor beyond a FRAME. */
#ifndef CSB_DECODE_READ_H
#define CSB_DECODE_READ_H

#include "decode_state.h"

/* Returns the next size bytes and goes past them, or NULL. */
static inline const unsigned char *
csb_decode_take(struct csb_decoder *d, size_t size)
{
    const unsigned char *at = d->next;

    if (size > (size_t)(d->limit - at)) {
        (void)csb_decode_refuse(d, d->framed ? "it goes beyond its FRAME"
                                             : "the bytes end inside it");
        return NULL;
    }
    d->next = at + size;
    return at;
}

static inline uint64_t
csb_decode_little_endian(const unsigned char *at, size_t size)
{
    uint64_t number = 0;

    for (size_t i = size; i > 0; i--) {
        number = number << 8 | at[i - 1];
    }
    return number;
}

/* Reads an unsigned number of that many bytes. */
static inline int
csb_decode_take_number(struct csb_decoder *d, size_t size, size_t *ret_number)
{
    const unsigned char *at = csb_decode_take(d, size);

    if (at == NULL) {
        return -1;
    }
    *ret_number = (size_t)csb_decode_little_endian(at, size);
    return 0;
}

/* Reads a length of that many bytes, then so many bytes. */
static inline const unsigned char *
csb_decode_take_counted(struct csb_decoder *d, size_t size, size_t *ret_length)
{
    if (csb_decode_take_number(d, size, ret_length) < 0) {
        return NULL;
    }
    return csb_decode_take(d, *ret_length);
}

static inline int
csb_decode_push_scalar(struct csb_decoder *d, PyObject *object,
                       uint32_t weight)
{
    return csb_decode_push(d, object, CSB_VALUE, 0, weight);
}

static inline int
csb_decode_push_int(struct csb_decoder *d, long number)
{
    /* CPython has these once and for all. */
    bool shared = number >= -5 && number <= 256;
    if (!shared && csb_decode_charge_memory(d, 32) < 0) {
        return -1;
    }
    return csb_decode_push_scalar(d, PyLong_FromLong(number), 1);
}

/* decode_scalars.c: the opcodes that push a scalar.  size is that, in bytes,
 * of the length that comes first.  All return 0 or -1. */
int csb_decode_load_int(struct csb_decoder *d);
int csb_decode_load_long(struct csb_decoder *d, size_t size);
int csb_decode_load_float(struct csb_decoder *d);
int csb_decode_load_text(struct csb_decoder *d, size_t size);
int csb_decode_load_bytes(struct csb_decoder *d, size_t size);
int csb_decode_load_bytearray(struct csb_decoder *d);

#endif
