/* Constructors of Decimal, Fraction and UUID, called with checked arguments
 * of bounded size. */
#include "decode_types.h"

#include <string.h>

/* Longer ones would cost more than they are worth to hash and compare. */
#define MAX_DECIMAL 65536
#define MAX_EXPONENT_DIGITS 18 /* decimal.MAX_EMAX has 18 */
#define MAX_FRACTION_BITS 16384

/* Hashing a Fraction looks its terms up in a cache that the whole process
 * shares and that holds up to 16384 of them: if the guest made these collide,
 * a look-up walks over all of them. */
#define FRACTION_WEIGHT 4096
#define UUID_WEIGHT 32 /* compared by Python code */

struct cursor {
    const char *next;
    const char *end;
};

static size_t
skip_digits(struct cursor *at)
{
    const char *first = at->next;

    while (at->next < at->end && *at->next >= '0' && *at->next <= '9') {
        at->next++;
    }
    return (size_t)(at->next - first);
}

static bool
skip_char(struct cursor *at, char c)
{
    if (at->next < at->end && (*at->next | 0x20) == (c | 0x20)) {
        at->next++;
        return true;
    }
    return false;
}

static bool
skip_word(struct cursor *at, const char *word)
{
    size_t size = strlen(word);

    if ((size_t)(at->end - at->next) >= size &&
        memcmp(at->next, word, size) == 0) {
        at->next += size;
        return true;
    }
    return false;
}

static void
skip_sign(struct cursor *at)
{
    if (at->next < at->end && (*at->next == '-' || *at->next == '+')) {
        at->next++;
    }
}

/* Whether text is what str() makes of a Decimal; sets ret_special for an
 * infinity or NaN, ret_signaling for the NaN that cannot be hashed. */
static bool
is_decimal(const char *text, size_t size, bool *ret_special,
           bool *ret_signaling)
{
    struct cursor at = {text, text + size};
    size_t digits;

    skip_sign(&at);
    *ret_special = true;
    *ret_signaling = skip_word(&at, "sNaN");
    if (*ret_signaling || skip_word(&at, "NaN")) {
        (void)skip_digits(&at); /* a payload or none */
        return at.next == at.end;
    }
    if (skip_word(&at, "Infinity")) {
        return at.next == at.end;
    }
    *ret_special = false;
    digits = skip_digits(&at);
    if (skip_char(&at, '.')) {
        digits += skip_digits(&at);
    }
    if (digits == 0) {
        return false;
    }
    if (skip_char(&at, 'E')) {
        skip_sign(&at);
        digits = skip_digits(&at);
        if (digits == 0 || digits > MAX_EXPONENT_DIGITS) {
            return false;
        }
    }
    return at.next == at.end;
}

/* An exponent beyond decimal's range gives NaN if the host's context does
 * not trap InvalidOperation, and raises if it does. */
static int
check_finite(struct csb_decoder *d, PyObject *decimal)
{
    int equal = PyObject_RichCompareBool(decimal, decimal, Py_EQ);
    PyObject *same = PyObject_RichCompare(decimal, decimal, Py_EQ);

    if (same == NULL || equal < 0) {
        Py_XDECREF(same);
        return csb_decode_wrap(d, "not a decimal number");
    }
    Py_DECREF(same);
    if (same != Py_True) {
        return csb_decode_refuse(d, "an exponent out of range");
    }
    return 0;
}

int
csb_decode_build_decimal(struct csb_decoder *d, const struct csb_entry *args,
                         struct csb_entry *ret_made)
{
    struct csb_decode_types *types = csb_decode_get_types(d);
    PyObject *text = PyTuple_GET_ITEM(args->object, 0);
    PyObject *type, *made;
    Py_ssize_t size;
    bool special, signaling;

    if (types == NULL) {
        return -1;
    }
    if (!PyUnicode_CheckExact(text) || !PyUnicode_IS_ASCII(text) ||
        (size = PyUnicode_GET_LENGTH(text)) > MAX_DECIMAL ||
        !is_decimal(PyUnicode_DATA(text), (size_t)size, &special,
                    &signaling)) {
        return csb_decode_refuse(d, "not a decimal number");
    }
    type = csb_decode_import(d, &types->decimal, "decimal", "Decimal");
    if (type == NULL || csb_decode_charge_memory(d, 110 + (size_t)size) < 0) {
        return -1;
    }
    made = PyObject_CallOneArg(type, text);
    if (made == NULL) {
        return csb_decode_wrap(d, "not a decimal number");
    }
    if (!special && check_finite(d, made) < 0) {
        Py_DECREF(made);
        return -1;
    }
    ret_made->object = made;
    ret_made->weight = 8 + (uint32_t)size / 8;
    if (signaling) {
        ret_made->kind = CSB_UNHASHABLE;
        ret_made->weight = CSB_UNHASHABLE_WEIGHT;
    }
    return 0;
}

/* How many bits an int has; -1 with an exception set on failure. */
static Py_ssize_t
count_bits(PyObject *number)
{
    PyObject *length = PyObject_CallMethod(number, "bit_length", NULL);
    Py_ssize_t bits;

    if (length == NULL) {
        return -1;
    }
    bits = PyLong_AsSsize_t(length);
    Py_DECREF(length);
    return bits;
}

/* Charges the greatest common divisor that Fraction looks for. */
static int
charge_fraction(struct csb_decoder *d, PyObject *numerator,
                PyObject *denominator)
{
    Py_ssize_t upper = count_bits(numerator);
    Py_ssize_t lower = count_bits(denominator);
    size_t digits;

    if (upper < 0 || lower < 0) {
        return -1;
    }
    if (upper > MAX_FRACTION_BITS || lower > MAX_FRACTION_BITS) {
        return csb_decode_refuse(d, "a Fraction of huge ints");
    }
    digits = (size_t)(upper < lower ? upper : lower) / 30;
    if (csb_decode_charge_work(d, digits * digits / 8) < 0) {
        return -1;
    }
    return csb_decode_charge_memory(d, 160 + (size_t)(upper + lower) / 6);
}

int
csb_decode_build_fraction(struct csb_decoder *d, const struct csb_entry *args,
                          struct csb_entry *ret_made)
{
    struct csb_decode_types *types = csb_decode_get_types(d);
    PyObject *numerator = PyTuple_GET_ITEM(args->object, 0);
    PyObject *denominator = PyTuple_GET_ITEM(args->object, 1);
    PyObject *type;

    if (types == NULL) {
        return -1;
    }
    if (!PyLong_CheckExact(numerator) || !PyLong_CheckExact(denominator)) {
        return csb_decode_refuse(d, "a Fraction takes two ints only");
    }
    type = csb_decode_import(d, &types->fraction, "fractions", "Fraction");
    if (type == NULL || charge_fraction(d, numerator, denominator) < 0) {
        return -1;
    }
    ret_made->object = PyObject_CallObject(type, args->object);
    if (ret_made->object == NULL) {
        return csb_decode_wrap(d, "not a Fraction");
    }
    ret_made->weight = FRACTION_WEIGHT;
    return 0;
}

static PyObject *
import_uuid(struct csb_decoder *d)
{
    struct csb_decode_types *types = csb_decode_get_types(d);

    if (types == NULL || csb_decode_charge_memory(d, 120) < 0) {
        return NULL;
    }
    return csb_decode_import(d, &types->uuid, "uuid", "UUID");
}

static bool
is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') ||
           (c >= 'A' && c <= 'F');
}

/* 32 hexadecimal digits, or with the four dashes that str() writes. */
static bool
is_uuid(const char *text, Py_ssize_t size)
{
    if (size != 32 && size != 36) {
        return false;
    }
    for (Py_ssize_t i = 0; i < size; i++) {
        bool dash = size == 36 && (i == 8 || i == 13 || i == 18 || i == 23);
        if (dash ? text[i] != '-' : !is_hex(text[i])) {
            return false;
        }
    }
    return true;
}

int
csb_decode_build_uuid(struct csb_decoder *d, const struct csb_entry *args,
                      struct csb_entry *ret_made)
{
    PyObject *text = PyTuple_GET_ITEM(args->object, 0);
    PyObject *type;

    if (!PyUnicode_CheckExact(text) || !PyUnicode_IS_ASCII(text) ||
        !is_uuid(PyUnicode_DATA(text), PyUnicode_GET_LENGTH(text))) {
        return csb_decode_refuse(d, "not a UUID");
    }
    type = import_uuid(d);
    if (type == NULL) {
        return -1;
    }
    ret_made->object = PyObject_CallOneArg(type, text);
    if (ret_made->object == NULL) {
        return csb_decode_wrap(d, "not a UUID");
    }
    ret_made->weight = UUID_WEIGHT;
    return 0;
}

/* Puts UUID's keyword arguments for uuid_state in ret_keywords. */
static int
read_state(struct csb_decoder *d, PyObject *uuid_state, PyObject *keywords)
{
    struct csb_decode_types *types = d->state->decode_types;
    PyObject *number, *safety, *safe_type, *safe;
    Py_ssize_t known = 1;
    int result;

    number = PyDict_GetItemString(uuid_state, "int");
    safety = PyDict_GetItemString(uuid_state, "is_safe");
    known += safety != NULL;
    if (number == NULL || !PyLong_CheckExact(number) ||
        PyDict_GET_SIZE(uuid_state) != known) {
        return csb_decode_refuse(d, "not the state of a UUID");
    }
    if (PyDict_SetItemString(keywords, "int", number) < 0) {
        return -1;
    }
    if (safety == NULL) {
        return 0;
    }
    if (!PyLong_CheckExact(safety)) {
        return csb_decode_refuse(d, "not the state of a UUID");
    }
    safe_type = csb_decode_import(d, &types->safe_uuid, "uuid", "SafeUUID");
    if (safe_type == NULL) {
        return -1;
    }
    safe = PyObject_CallOneArg(safe_type, safety);
    if (safe == NULL) {
        return csb_decode_wrap(d, "not the state of a UUID");
    }
    result = PyDict_SetItemString(keywords, "is_safe", safe);
    Py_DECREF(safe);
    return result;
}

int
csb_decode_finish_uuid(struct csb_decoder *d, PyObject *uuid_state,
                       struct csb_entry *ret_made)
{
    PyObject *type = import_uuid(d);
    PyObject *keywords = NULL;
    PyObject *none = NULL;
    PyObject *made = NULL;
    int result = -1;

    if (type == NULL) {
        return -1;
    }
    if (!PyDict_CheckExact(uuid_state)) {
        return csb_decode_refuse(d, "not the state of a UUID");
    }
    keywords = PyDict_New();
    none = PyTuple_New(0);
    if (keywords == NULL || none == NULL ||
        read_state(d, uuid_state, keywords) < 0) {
        goto error;
    }
    made = PyObject_Call(type, none, keywords);
    if (made == NULL) {
        (void)csb_decode_wrap(d, "not a UUID"); /* -1 by contract */
        goto error;
    }
    ret_made->object = made;
    ret_made->weight = UUID_WEIGHT;
    result = 0;

error:
    Py_XDECREF(none);
    Py_XDECREF(keywords);
    return result;
}
