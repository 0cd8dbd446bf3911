/* Constructors of the datetime family.
 *
 * The real ones, given the bytes that pickle writes, check the month and no
 * more; so the fields are taken apart here and go through datetime's C API,
 * which checks them all. */
#include "decode_types.h"

#include <datetime.h>

#define SIZE_DATE 64 /* the largest of them */
#define NAIVE_WEIGHT 4
#define AWARE_WEIGHT 32 /* hashing asks the time zone */
#define ZONE_ITEMS 100  /* a file is read, which takes 50 us */
#define ZONE_MEMORY 32768
#define MAX_ZONE 64

static PyDateTime_CAPI *
import_datetime(struct csb_decoder *d)
{
    struct csb_decode_types *types = csb_decode_get_types(d);

    (void)PyDateTimeAPI; /* the header's own, per process: not used */
    if (types == NULL || csb_decode_charge_memory(d, SIZE_DATE) < 0) {
        return NULL;
    }
    if (types->datetime == NULL) {
        types->datetime = PyCapsule_Import(PyDateTime_CAPSULE_NAME, 0);
        if (types->datetime == NULL) {
            (void)csb_decode_wrap(d, "datetime is missing here");
        }
    }
    return types->datetime;
}

/* The first argument's bytes, if there are so many. */
static const unsigned char *
get_fields(struct csb_decoder *d, const struct csb_entry *args,
           Py_ssize_t size)
{
    PyObject *packed = PyTuple_GET_ITEM(args->object, 0);

    if (!PyBytes_CheckExact(packed) || PyBytes_GET_SIZE(packed) != size) {
        /* NULL says it */
        (void)csb_decode_refuse(d, "its state is not %zd bytes", size);
        return NULL;
    }
    return (const unsigned char *)PyBytes_AS_STRING(packed);
}

/* The second argument, a time zone made by us, or None if there is none. */
static PyObject *
get_zone(struct csb_decoder *d, PyDateTime_CAPI *api,
         const struct csb_entry *args)
{
    PyObject *zone;

    if (PyTuple_GET_SIZE(args->object) < 2) {
        return Py_None;
    }
    zone = PyTuple_GET_ITEM(args->object, 1);
    if (!Py_IS_TYPE(zone, Py_TYPE(api->TimeZone_UTC)) &&
        (PyObject *)Py_TYPE(zone) != d->state->decode_types->zone_info) {
        (void)csb_decode_refuse(d, "not a datetime.timezone or ZoneInfo");
        return NULL;
    }
    return zone;
}

static int
finish(struct csb_decoder *d, PyObject *made, PyObject *zone,
       struct csb_entry *ret_made)
{
    if (made == NULL) {
        return csb_decode_wrap(d, "a field is out of range");
    }
    ret_made->object = made;
    ret_made->weight = zone == Py_None ? NAIVE_WEIGHT : AWARE_WEIGHT;
    return 0;
}

int
csb_decode_build_date(struct csb_decoder *d, const struct csb_entry *args,
                      struct csb_entry *ret_made)
{
    PyDateTime_CAPI *api = import_datetime(d);
    const unsigned char *at;

    if (api == NULL || (at = get_fields(d, args, 4)) == NULL) {
        return -1;
    }
    return finish(
        d, api->Date_FromDate(at[0] << 8 | at[1], at[2], at[3], api->DateType),
        Py_None, ret_made);
}

int
csb_decode_build_datetime(struct csb_decoder *d, const struct csb_entry *args,
                          struct csb_entry *ret_made)
{
    PyDateTime_CAPI *api = import_datetime(d);
    const unsigned char *at;
    PyObject *zone;

    if (api == NULL || (at = get_fields(d, args, 10)) == NULL ||
        (zone = get_zone(d, api, args)) == NULL) {
        return -1;
    }
    /* The month's high bit is the fold. */
    return finish(d,
                  api->DateTime_FromDateAndTimeAndFold(
                      at[0] << 8 | at[1], at[2] & 0x7f, at[3], at[4], at[5],
                      at[6], at[7] << 16 | at[8] << 8 | at[9], zone,
                      at[2] >> 7, api->DateTimeType),
                  zone, ret_made);
}

int
csb_decode_build_time(struct csb_decoder *d, const struct csb_entry *args,
                      struct csb_entry *ret_made)
{
    PyDateTime_CAPI *api = import_datetime(d);
    const unsigned char *at;
    PyObject *zone;

    if (api == NULL || (at = get_fields(d, args, 6)) == NULL ||
        (zone = get_zone(d, api, args)) == NULL) {
        return -1;
    }
    return finish(d,
                  api->Time_FromTimeAndFold(at[0] & 0x7f, at[1], at[2],
                                            at[3] << 16 | at[4] << 8 | at[5],
                                            zone, at[0] >> 7, api->TimeType),
                  zone, ret_made);
}

/* Reads an int argument between low and high into ret_number. */
static int
get_int(struct csb_decoder *d, const struct csb_entry *args, Py_ssize_t index,
        long low, long high, int *ret_number)
{
    PyObject *number = PyTuple_GET_ITEM(args->object, index);
    int overflow = 0;
    long value;

    if (!PyLong_CheckExact(number)) {
        return csb_decode_refuse(d, "a field is not an int");
    }
    value = PyLong_AsLongAndOverflow(number, &overflow);
    if (overflow != 0 || value < low || value > high) {
        return csb_decode_refuse(d, "a field is out of range");
    }
    *ret_number = (int)value;
    return 0;
}

int
csb_decode_build_timedelta(struct csb_decoder *d, const struct csb_entry *args,
                           struct csb_entry *ret_made)
{
    PyDateTime_CAPI *api = import_datetime(d);
    int days = 0, seconds = 0, microseconds = 0;

    if (api == NULL || get_int(d, args, 0, -999999999, 999999999, &days) < 0 ||
        get_int(d, args, 1, 0, 86399, &seconds) < 0 ||
        get_int(d, args, 2, 0, 999999, &microseconds) < 0) {
        return -1;
    }
    return finish(
        d,
        api->Delta_FromDelta(days, seconds, microseconds, 0, api->DeltaType),
        Py_None, ret_made);
}

int
csb_decode_build_timezone(struct csb_decoder *d, const struct csb_entry *args,
                          struct csb_entry *ret_made)
{
    PyDateTime_CAPI *api = import_datetime(d);
    PyObject *offset = PyTuple_GET_ITEM(args->object, 0);
    PyObject *name = NULL;

    if (api == NULL) {
        return -1;
    }
    if (!Py_IS_TYPE(offset, api->DeltaType)) {
        return csb_decode_refuse(d, "an offset is not a timedelta");
    }
    if (PyTuple_GET_SIZE(args->object) == 2) {
        name = PyTuple_GET_ITEM(args->object, 1);
        if (!PyUnicode_CheckExact(name)) {
            return csb_decode_refuse(d, "its name is not text");
        }
    }
    return finish(d, api->TimeZone_FromTimeZone(offset, name), Py_None,
                  ret_made);
}

/* A name such as Europe/Berlin, which leads nowhere but below the directory
 * of time zones. */
static bool
is_zone_name(const char *name, Py_ssize_t size)
{
    bool begins = true; /* a part of it */

    for (Py_ssize_t i = 0; i < size; i++) {
        char c = name[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                     (c >= '0' && c <= '9') || c == '_' || c == '+' ||
                     c == '-';
        if (!plain && (c != '/' || begins)) {
            return false;
        }
        begins = !plain;
    }
    return size <= MAX_ZONE && !begins;
}

int
csb_decode_build_zone(struct csb_decoder *d, const struct csb_entry *args,
                      struct csb_entry *ret_made)
{
    struct csb_decode_types *types = csb_decode_get_types(d);
    PyObject *name = PyTuple_GET_ITEM(args->object, 0);
    PyObject *type;

    if (!PyUnicode_CheckExact(name) || !PyUnicode_IS_ASCII(name) ||
        !is_zone_name(PyUnicode_DATA(name), PyUnicode_GET_LENGTH(name))) {
        return csb_decode_refuse(d, "not the name of a time zone");
    }
    if (types == NULL || csb_decode_charge_items(d, ZONE_ITEMS) < 0 ||
        csb_decode_charge_memory(d, ZONE_MEMORY) < 0) {
        return -1;
    }
    type = csb_decode_import(d, &types->zone_info, "zoneinfo", "ZoneInfo");
    if (type == NULL) {
        return -1;
    }
    ret_made->object = PyObject_CallOneArg(type, name);
    if (ret_made->object == NULL) {
        return csb_decode_wrap(d, "no such time zone here");
    }
    ret_made->weight = NAIVE_WEIGHT;
    return 0;
}
