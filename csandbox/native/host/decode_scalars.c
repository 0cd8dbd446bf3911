/* Numbers, text and bytes, out of the bytes of a pickle. */
#include "decode_opcodes.h"
#include "decode_read.h"

#include <string.h>

/* 78,913 decimal digits.  CPython itself prints no more than 4300 unless the
 * caller has lifted that; then printing this takes tens of milliseconds. */
#define MAX_INT_BYTES 32768

int
csb_decode_load_int(struct csb_decoder *d)
{
    const unsigned char *at = csb_decode_take(d, 4);

    if (at == NULL) {
        return -1;
    }
    return csb_decode_push_int(
        d, (int32_t)(uint32_t)csb_decode_little_endian(at, 4));
}

int
csb_decode_load_long(struct csb_decoder *d, size_t size)
{
    size_t length;
    const unsigned char *at = csb_decode_take_counted(d, size, &length);

    if (at == NULL) {
        return -1;
    }
    if (length > MAX_INT_BYTES) {
        return csb_decode_refuse(d, "an int of %zu bytes", length);
    }
    if (csb_decode_charge_memory(d, 32 + length * 8 / 7) < 0) {
        return -1;
    }
    if (length == 0) {
        return csb_decode_push_scalar(d, PyLong_FromLong(0), 1);
    }
#if PY_VERSION_HEX >= 0x030D0000
    PyObject *number =
        PyLong_FromNativeBytes(at, length, Py_ASNATIVEBYTES_LITTLE_ENDIAN);
#else
    PyObject *number = _PyLong_FromByteArray(at, length, 1, 1);
#endif
    return csb_decode_push_scalar(d, number, 1 + (uint32_t)length / 64);
}

static double
big_endian_double(const unsigned char *at)
{
    /* One expression, which compilers know as a byte swap. */
    uint64_t bits = (uint64_t)at[0] << 56 | (uint64_t)at[1] << 48 |
                    (uint64_t)at[2] << 40 | (uint64_t)at[3] << 32 |
                    (uint64_t)at[4] << 24 | (uint64_t)at[5] << 16 |
                    (uint64_t)at[6] << 8 | (uint64_t)at[7];
    double number;

    memcpy(&number, &bits, sizeof number);
    return number;
}

/* Also obeys the same opcode again, as often as it follows: lists of floats
 * are long. */
int
csb_decode_load_float(struct csb_decoder *d)
{
    for (;;) {
        const unsigned char *at = csb_decode_take(d, 8);
        if (at == NULL || csb_decode_charge_memory(d, 24) < 0 ||
            csb_decode_push_scalar(
                d, PyFloat_FromDouble(big_endian_double(at)), 1) < 0) {
            return -1;
        }
        if (d->next == d->limit || *d->next != OP_BINFLOAT || d->fuel == 0) {
            return 0;
        }
        d->opcode = d->next++;
        d->fuel--;
    }
}

/* In blocks, which compilers turn into vectors. */
static bool
is_ascii(const unsigned char *at, size_t size)
{
    const uint64_t high = 0x8080808080808080u;
    uint64_t words[8];
    uint64_t any = 0;

    for (; size >= sizeof words; at += sizeof words, size -= sizeof words) {
        memcpy(words, at, sizeof words);
        for (int i = 0; i < 8; i++) {
            any |= words[i];
        }
        if (any & high) {
            return false;
        }
    }
    for (; size >= 8; at += 8, size -= 8) {
        memcpy(words, at, 8);
        any |= words[0];
    }
    for (; size > 0; at++, size--) {
        any |= *at;
    }
    return !(any & high);
}

/* The bytes that a str takes of which that is the UTF-8. */
static size_t
measure_text(const unsigned char *at, size_t size)
{
    size_t characters = 0;
    unsigned char greatest = 0;

    for (size_t i = 0; i < size; i++) {
        characters += (at[i] & 0xc0) != 0x80;
        greatest = at[i] > greatest ? at[i] : greatest;
    }
    if (greatest >= 0xf0) {
        return characters * 4;
    }
    return greatest >= 0xc4 ? characters * 2 : characters;
}

static int
load_other_text(struct csb_decoder *d, const unsigned char *at, size_t size)
{
    PyObject *text;

    if (csb_decode_charge_memory(d, 80 + measure_text(at, size)) < 0) {
        return -1;
    }
    text = PyUnicode_DecodeUTF8((const char *)at, (Py_ssize_t)size,
                                "surrogatepass");
    if (text == NULL) {
        return csb_decode_wrap(d, "its text is not UTF-8");
    }
    return csb_decode_push_scalar(d, text, 1);
}

/* Also obeys the MEMOIZE that follows nearly every text, unless that needs
 * more than a copy. */
static void
memoize_next(struct csb_decoder *d)
{
    if (d->next != d->limit && *d->next == OP_MEMOIZE && d->fuel > 0 &&
        d->memo_used < d->memo_room) {
        struct csb_entry *top = &d->stack[d->used - 1];
        d->memo[d->memo_used++] = *top;
        Py_INCREF(top->object);
        d->next++;
        d->fuel--;
    }
}

int
csb_decode_load_text(struct csb_decoder *d, size_t size)
{
    size_t length;
    const unsigned char *at = csb_decode_take_counted(d, size, &length);
    PyObject *text;

    if (at == NULL) {
        return -1;
    }
    if (length < 2 || !is_ascii(at, length)) {
        return load_other_text(d, at, length);
    }
    if (csb_decode_charge_memory(d, 56 + length) < 0) {
        return -1;
    }
    text = PyUnicode_New((Py_ssize_t)length, 127);
    if (text == NULL) {
        return -1;
    }
    memcpy(PyUnicode_1BYTE_DATA(text), at, length);
    if (csb_decode_push_scalar(d, text, 1) < 0) {
        return -1;
    }
    memoize_next(d);
    return 0;
}

int
csb_decode_load_bytes(struct csb_decoder *d, size_t size)
{
    size_t length;
    const unsigned char *at = csb_decode_take_counted(d, size, &length);

    if (at == NULL || csb_decode_charge_memory(d, 40 + length) < 0) {
        return -1;
    }
    return csb_decode_push_scalar(
        d, PyBytes_FromStringAndSize((const char *)at, (Py_ssize_t)length), 1);
}

int
csb_decode_load_bytearray(struct csb_decoder *d)
{
    size_t length;
    const unsigned char *at = csb_decode_take_counted(d, 8, &length);

    if (at == NULL || csb_decode_charge_memory(d, 64 + length) < 0) {
        return -1;
    }
    return csb_decode_push(
        d, PyByteArray_FromStringAndSize((const char *)at, (Py_ssize_t)length),
        CSB_UNHASHABLE, 0, CSB_UNHASHABLE_WEIGHT);
}
