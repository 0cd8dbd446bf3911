#define _GNU_SOURCE
#include "receipt.h"

#include <fcntl.h>
#include <stdbool.h>
#include <unistd.h>

#include "../common/fdio.h"
#include "../common/plan.h"

#define FILTER_MODE 2 /* SECCOMP_MODE_FILTER */

_Static_assert(sizeof(struct csb_receipt) <
                   sizeof(((struct csb_report *)NULL)->text),
               "the receipt lies where the text of other reports does");

void
csb_receipt_expect(uint32_t mechanisms, struct csb_expected *ret)
{
    __attribute__((cleanup(csb_close))) int proc =
        open("/proc", O_PATH | O_CLOEXEC);
    *ret = (struct csb_expected){.mechanisms = mechanisms};
    if (proc >= 0) {
        csb_receipt_namespaces(proc, ret->namespaces);
    }
}

/* Two that cannot be seen are not two of their own. */
static bool
has_own(const struct csb_expected *expected, const struct csb_receipt *receipt,
        enum csb_namespace kind)
{
    return receipt->namespaces[kind] != 0 &&
           receipt->namespaces[kind] != expected->namespaces[kind];
}

/* With a PID namespace come those that cost nothing. */
static bool
has_namespaces(const struct csb_expected *expected,
               const struct csb_receipt *receipt)
{
    static const enum csb_namespace kinds[] = {
        CSB_NS_user, CSB_NS_mnt, CSB_NS_pid,
        CSB_NS_ipc,  CSB_NS_uts, CSB_NS_cgroup,
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!has_own(expected, receipt, kinds[i])) {
            return false;
        }
    }
    return true;
}

static bool
has_view(const struct csb_expected *expected,
         const struct csb_receipt *receipt)
{
    return has_own(expected, receipt, CSB_NS_mnt);
}

static bool
has_network(const struct csb_expected *expected,
            const struct csb_receipt *receipt)
{
    return has_own(expected, receipt, CSB_NS_net);
}

static bool
has_no_capability(const struct csb_expected *expected,
                  const struct csb_receipt *receipt)
{
    (void)expected;
    return (receipt->caps[CSB_CAPS_CapInh] | receipt->caps[CSB_CAPS_CapPrm] |
            receipt->caps[CSB_CAPS_CapEff] | receipt->caps[CSB_CAPS_CapBnd] |
            receipt->caps[CSB_CAPS_CapAmb]) == 0;
}

/* Without namespaces the bounding set may stay, as it gives nothing to those
 * who gain no privileges. */
static bool
has_no_power(const struct csb_expected *expected,
             const struct csb_receipt *receipt)
{
    return (expected->mechanisms & CSB_MECH_PIDNS) != 0 ||
           (receipt->caps[CSB_CAPS_CapInh] | receipt->caps[CSB_CAPS_CapPrm] |
            receipt->caps[CSB_CAPS_CapEff] | receipt->caps[CSB_CAPS_CapAmb]) ==
               0;
}

/* Tasks are counted per user; a guest that is the same as the host has none
 * to itself, and what it has is counted by looking. */
static bool
is_counted(const struct csb_expected *expected,
           const struct csb_receipt *receipt)
{
    return (expected->mechanisms & CSB_MECH_PIDNS) != 0 ||
           receipt->uid != geteuid();
}

/* Lower ones are the host's own. */
static bool
has_limits(const struct csb_expected *expected,
           const struct csb_receipt *receipt)
{
    const struct csb_limits *given = &expected->limits;
    const uint64_t most[CSB_LIMIT_COUNT] = {
        [CSB_LIMIT_NOFILE] = given->descriptors,
        [CSB_LIMIT_CPU] = given->cpu_seconds,
        [CSB_LIMIT_CORE] = 0,
        [CSB_LIMIT_NPROC] = is_counted(expected, receipt)
                                ? given->threads + given->processes + 1ull
                                : UINT64_MAX,
        /* Those that stand on what the cell inherited. */
        [CSB_LIMIT_DATA] = UINT64_MAX - 1,
#ifdef CSB_SANITIZED /* their shadow memory is terabytes wide */
        [CSB_LIMIT_AS] = UINT64_MAX,
#else
        [CSB_LIMIT_AS] = UINT64_MAX - 1,
#endif
    };
    for (int i = 0; i < CSB_LIMIT_COUNT; i++) {
        if (receipt->limits[i] > most[i]) {
            return false;
        }
    }
    return true;
}

static bool
has_landlock(const struct csb_expected *expected,
             const struct csb_receipt *receipt)
{
    (void)expected;
    return receipt->landlock != 0;
}

static bool
has_filter(const struct csb_expected *expected,
           const struct csb_receipt *receipt)
{
    (void)expected;
    return receipt->seccomp == FILTER_MODE &&
           (receipt->filters > receipt->filters_before ||
            receipt->filters == 0);
}

static bool
has_no_new_privs(const struct csb_expected *expected,
                 const struct csb_receipt *receipt)
{
    (void)expected;
    return receipt->no_new_privs == 1;
}

static const struct {
    uint32_t mechanism; /* checked when the plan has it */
    bool (*holds)(const struct csb_expected *, const struct csb_receipt *);
    const char *name;
} checks[] = {
    {CSB_MECH_ALL, has_no_new_privs, "no new privileges"},
    {CSB_MECH_PIDNS, has_namespaces, "namespaces"},
    {CSB_MECH_VIEW, has_view, "mount namespace"},
    {CSB_MECH_NETNS, has_network, "network namespace"},
    {CSB_MECH_ALL, has_no_power, "capabilities"},
    {CSB_MECH_USERNS, has_no_capability, "capabilities"},
    {CSB_MECH_LIMITS, has_limits, "rlimits"},
    {CSB_MECH_LANDLOCK, has_landlock, "landlock"},
    {CSB_MECH_SECCOMP, has_filter, "seccomp"},
};

int
csb_receipt_check(const struct csb_expected *expected,
                  struct csb_report *report)
{
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        if ((expected->mechanisms & checks[i].mechanism) != 0 &&
            !checks[i].holds(expected, &report->receipt)) {
            csb_report_fill(CSB_STEP_RECEIPT, 0, 0, checks[i].name, report);
            return 0;
        }
    }
    if (report->receipt.uid != geteuid()) {
        report->detail |= CSB_MECH_UID;
    }
    uint32_t missing = expected->required & ~report->detail;
    if (missing != 0) {
        csb_report_fill(CSB_STEP_REQUIRE, 0, missing, NULL, report);
    }
    return missing == 0;
}

const char csb_receipt_try_doc[] = PyDoc_STR(
    "check_receipt(mechanisms, host, receipt, /)\n--\n\n"
    "The name of what a receipt does not bear out of the mechanisms that a\n"
    "plan has (their sum), or '' if it is in order.  host: numbers of this\n"
    "process's namespaces, receipt: what a cell says, both dicts by name.");

/* -1 with an exception. */
static int
take(PyObject *dict, const char *name, uint64_t *ret_value)
{
    PyObject *value = PyDict_GetItemString(dict, name);
    if (value != NULL) {
        *ret_value = PyLong_AsUnsignedLongLong(value);
    }
    return PyErr_Occurred() ? -1 : 0;
}

static int
take_all(PyObject *dict, struct csb_receipt *ret_receipt)
{
    uint64_t seccomp = 0, before = 0, filters = 0, privs = 0, landlock = 0;
    struct {
        const char *name;
        uint64_t *value;
    } fields[] = {
#define X(name) {#name, &ret_receipt->namespaces[CSB_NS_##name]},
        CSB_NAMESPACES(X)
#undef X
#define X(name) {#name, &ret_receipt->caps[CSB_CAPS_##name]},
            CSB_RECEIPT_CAPS(X)
#undef X
#define X(name) {#name, &ret_receipt->limits[CSB_LIMIT_##name]},
                CSB_RECEIPT_LIMITS(X)
#undef X
                    {"no_new_privs", &privs},
        {"seccomp", &seccomp},
        {"filters_before", &before},
        {"filters", &filters},
        {"landlock", &landlock},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (take(dict, fields[i].name, fields[i].value) < 0) {
            return -1;
        }
    }
    ret_receipt->no_new_privs = (uint32_t)privs;
    ret_receipt->seccomp = (uint32_t)seccomp;
    ret_receipt->filters_before = (uint32_t)before;
    ret_receipt->filters = (uint32_t)filters;
    ret_receipt->landlock = (uint32_t)landlock;
    return 0;
}

PyObject *
csb_receipt_try(PyObject *Py_UNUSED(module), PyObject *args)
{
    struct csb_expected expected = {.limits = {.memory = 0}};
    struct csb_receipt host = {.uid = 0};
    struct csb_report report = {.step = CSB_STEP_READY};
    PyObject *theirs, *ours;

    if (!PyArg_ParseTuple(args, "IO!O!", &expected.mechanisms, &PyDict_Type,
                          &ours, &PyDict_Type, &theirs) ||
        take_all(ours, &host) < 0 || take_all(theirs, &report.receipt) < 0) {
        return NULL;
    }
    memcpy(expected.namespaces, host.namespaces, sizeof host.namespaces);
    int borne_out = csb_receipt_check(&expected, &report);
    /* Where the text would be lies the receipt otherwise. */
    return PyUnicode_FromString(borne_out ? "" : report.text);
}

static PyObject *
own_namespaces(const struct csb_expected *expected,
               const struct csb_receipt *receipt)
{
    static const char *const names[] = {
#define X(name) #name,
        CSB_NAMESPACES(X)
#undef X
    };
    PyObject *list = PyList_New(0);
    for (int i = 0; i < CSB_NS_COUNT && list != NULL; i++) {
        if (!has_own(expected, receipt, (enum csb_namespace)i)) {
            continue;
        }
        PyObject *name = PyUnicode_FromString(names[i]);
        if (name == NULL || PyList_Append(list, name) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(name);
    }
    return list;
}

PyObject *
csb_receipt_value(const struct csb_expected *expected,
                  const struct csb_report *report)
{
    const struct csb_receipt *receipt = &report->receipt;
    if (report->step != CSB_STEP_READY) {
        Py_RETURN_NONE;
    }
    PyObject *namespaces = own_namespaces(expected, receipt);
    if (namespaces == NULL) {
        return NULL;
    }
#define X(name) (unsigned long long)receipt->caps[CSB_CAPS_##name],
    PyObject *caps =
        Py_BuildValue("(KKKKK)", CSB_RECEIPT_CAPS(X) NULL); /* a last comma */
#undef X
#define X(name) #name, (unsigned long long)receipt->limits[CSB_LIMIT_##name],
    PyObject *limits =
        Py_BuildValue("{sK,sK,sK,sK,sK,sK}", CSB_RECEIPT_LIMITS(X) NULL);
#undef X
    return Py_BuildValue("{s:N, s:N, s:N, s:I, s:I, s:I, s:I, s:I}",
                         "namespaces", namespaces, "capabilities", caps,
                         "limits", limits, "uid", receipt->uid, "no_new_privs",
                         receipt->no_new_privs, "seccomp", receipt->seccomp,
                         "filters", receipt->filters, "filters_before",
                         receipt->filters_before);
}
