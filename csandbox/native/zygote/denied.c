/* Exceptions that say what csandbox denied.
 *
 * Runs in the guest, on its own objects, and asks the host by a system call
 * that the listener's filter holds up.  Only for errors that a denial gives;
 * a guest that undoes this loses its words and nothing else. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "denied.h"

#include <errno.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../common/denials.h"

/* Frames that are looked at for one of the guest's own program. */
#define FRAMES_MAX 100

/* enum csb_denial_where, of all cells of this zygote. */
static unsigned kind_of_cell;
/* Of all runs of this zygote: forks are denied by EAGAIN, and nothing else. */
static int has_forks;
/* Questions to which the answer was no, one after the other. */
static unsigned asked_in_vain;

/* --- where --------------------------------------------------------------- */

/* Not of Python's library, of a package or of our side: a person looks for a
 * line of their own. */
static int
is_own(const char *file)
{
    return strncmp(file, "<frozen ", 8) != 0 &&
           strcmp(file, "<csandbox>") != 0 &&
           strstr(file, "/lib/python") == NULL &&
           strstr(file, "/lib64/python") == NULL &&
           strstr(file, "/site-packages/") == NULL;
}

/* Returns the line of a frame of the guest's own, or 0. */
static uint32_t
look_at(PyFrameObject *frame, char ret_file[CSB_QUESTION_FILE_SIZE])
{
    PyCodeObject *code = PyFrame_GetCode(frame);
    const char *file = PyUnicode_AsUTF8(code->co_filename);
    uint32_t line = 0;

    if (file == NULL) {
        PyErr_Clear();
    } else if (is_own(file)) {
        const char *name = strrchr(file, '/');
        name = name == NULL ? file : name + 1;
        size_t length = strlen(name);
        if (length > CSB_QUESTION_FILE_SIZE) {
            name += length - CSB_QUESTION_FILE_SIZE;
            length = CSB_QUESTION_FILE_SIZE;
        }
        for (size_t i = 0; i < length; i++) {
            ret_file[i] = name[i]; /* full, it has no end */
        }
        line = (uint32_t)PyFrame_GetLineNumber(frame);
    }
    Py_DECREF(code);
    return line;
}

static uint32_t
find_line(char ret_file[CSB_QUESTION_FILE_SIZE])
{
    PyFrameObject *frame = PyEval_GetFrame();
    uint32_t line = 0;

    Py_XINCREF(frame);
    for (int i = 0; i < FRAMES_MAX && frame != NULL && line == 0; i++) {
        line = look_at(frame, ret_file);
        PyFrameObject *back = PyFrame_GetBack(frame);
        Py_DECREF(frame);
        frame = back;
    }
    Py_XDECREF(frame);
    return line;
}

/* --- what ---------------------------------------------------------------- */

static uint64_t
ask(int err)
{
    char file[CSB_QUESTION_FILE_SIZE] = {0};
    uint64_t words[CSB_QUESTION_FILE_SIZE / 8];
    uint64_t line = find_line(file);
    int saved = errno;

    memcpy(words, file, sizeof words);
    long answer = syscall(SYS_prctl, (long)CSB_QUESTION,
                          (long)(line << 32 | (uint32_t)err), words[0],
                          words[1], words[2], words[3]);
    errno = saved;
    return answer > 0 ? (uint64_t)answer : 0;
}

static uint64_t
extend(uint64_t value, unsigned bits)
{
    return (uint64_t)((int64_t)(value << (64 - bits)) >> (64 - bits));
}

/* Programs that are denied nothing meet these errors too, some all the time:
 * they shall not wait for the host.  The first few, then each power of two. */
static int
is_worth_asking(int err)
{
    if (err == EAGAIN && !has_forks) {
        return 0;
    }
    return asked_in_vain < 8 || (asked_in_vain & (asked_in_vain - 1)) == 0;
}

/* Returns 0 if the answer is no. */
static int
describe(int err, char ret_text[CSB_DENIAL_ROOM])
{
    uint64_t answer = is_worth_asking(err) ? ask(err) : 0;
    asked_in_vain = answer == 0 ? asked_in_vain + 1 : 0;
    if (answer == 0) {
        return 0;
    }
    int number = (int)(answer & ((1u << CSB_ANSWER_NUMBER_BITS) - 1)) - 1;
    const uint64_t arguments[CSB_DENIAL_ARGS] = {
        extend(answer >> CSB_ANSWER_NUMBER_BITS, CSB_ANSWER_FIRST_BITS),
        extend(answer >> (CSB_ANSWER_NUMBER_BITS + CSB_ANSWER_FIRST_BITS),
               CSB_ANSWER_SECOND_BITS),
    };
    char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number);
    const struct csb_denial *denial =
        name == NULL ? NULL : csb_denial_find(name);
    free(name);
    if (denial == NULL) {
        return 0;
    }
    unsigned limited = err == EAGAIN ? CSB_DENIAL_LIMITED : 0u;
    csb_denial_describe(denial, arguments, kind_of_cell | limited, ret_text);
    return 1;
}

/* --- the exceptions ------------------------------------------------------ */

/* Puts what str() shows in the place of what libc said, also in args, so that
 * a copy says it too. */
static void
amend(PyOSErrorObject *error, const char *description)
{
    PyObject *text =
        PyUnicode_FromFormat("%U: %s", error->strerror, description);
    PyObject *args =
        text == NULL ? NULL : PyTuple_Pack(2, error->myerrno, text);
    if (args == NULL) {
        PyErr_Clear();
    } else {
        Py_SETREF(error->args, Py_NewRef(args));
        Py_SETREF(error->strerror, Py_NewRef(text));
    }
    Py_XDECREF(args);
    Py_XDECREF(text);
}

static void
tell(PyOSErrorObject *error)
{
    char description[CSB_DENIAL_ROOM];

    if (error->myerrno == NULL || !PyLong_CheckExact(error->myerrno) ||
        error->strerror == NULL || !PyUnicode_CheckExact(error->strerror) ||
        error->args == NULL || PyTuple_GET_SIZE(error->args) != 2) {
        return;
    }
    long err = PyLong_AsLong(error->myerrno);
    if (err < 0) {
        PyErr_Clear();
    }
    /* With a name, EACCES is about a file, and no business of the filter. */
    if (err == EPERM || err == EAGAIN ||
        (err == EACCES && error->filename == NULL)) {
        if (describe((int)err, description)) {
            amend(error, description);
        }
    }
}

/* OSError_new() leaves all of the work to __init__ where that is not
 * OSError's own; so it does for the types that have this one. */
static int
init_and_tell(PyObject *self, PyObject *args, PyObject *kwargs)
{
    int result = ((PyTypeObject *)PyExc_OSError)->tp_init(self, args, kwargs);
    if (result == 0) {
        tell((PyOSErrorObject *)self);
    }
    return result;
}

void
csb_denied_install(const struct csb_plan *plan)
{
    has_forks = plan->several != 0;
    kind_of_cell = (csb_plan_is_bare(plan) ? CSB_DENIAL_BARE : 0u) |
                   (plan->compute ? CSB_DENIAL_COMPUTE : 0u);
    /* Not OSError itself, whose new() would not choose their types then. */
    ((PyTypeObject *)PyExc_PermissionError)->tp_init = init_and_tell;
    ((PyTypeObject *)PyExc_BlockingIOError)->tp_init = init_and_tell;
}
