"""A receipt says what the kernel says: a step that did nothing is noticed by
the host, before the cell gets its job."""

import os
import subprocess
from unittest import mock

import pytest

import csandbox
from csandbox import _csandbox, zygotes
from csandbox.errors import UnavailableError
from support import BARE, LANDLOCK, LIMITS
from test_lockdown import (
    patched_plan,
    preloading,
    without_mechanisms,
    zygotes_of_its_own,
)

# Steps that say they did their work, and did not.
SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static int
is(const char *fault)
{
    static char chosen[64];
    const char *now = getenv("CSANDBOX_TEST_FAULT");
    if (now != NULL) { /* cells have no environment any more */
        strncpy(chosen, now, sizeof chosen - 1);
    }
    return strcmp(chosen, fault) == 0;
}

__attribute__((constructor)) static void
remember(void)
{
    (void)is("");
}

int
setrlimit(__rlimit_resource_t resource, const struct rlimit *limit)
{
    if (is("all limits") || (is("a limit") && resource == RLIMIT_NOFILE)) {
        return 0;
    }
    return (int)syscall(SYS_prlimit64, 0L, (long)resource, limit, NULL);
}

long
syscall(long number, ...)
{
    static long (*real)(long, ...);
    long a[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++) {
        a[i] = va_arg(list, long);
    }
    va_end(list);
    if (real == NULL) {
        real = dlsym(RTLD_NEXT, "syscall");
    }
    if (is("landlock") && number == SYS_landlock_restrict_self) {
        return 0;
    }
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    """Return the path of a library with these functions."""
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    subprocess.run(
        [os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O1", "-o"]
        + [str(folder / name) for name in ("shim.so", "shim.c")]
        + ["-ldl"],
        check=True,
    )
    return str(folder / "shim.so")


def run_with(environment, change=lambda plan: None):
    variables = dict(each.split("=", 1) for each in zygotes._environment())
    variables |= environment
    changed = [f"{name}={text}" for name, text in variables.items()]
    with (
        zygotes_of_its_own(),
        patched_plan(change),
        mock.patch.object(zygotes, "_environment", lambda _: changed),
    ):
        return csandbox.run("7", timeout=60)


@pytest.mark.parametrize(
    ("fault", "mechanism"),
    [("landlock", LANDLOCK), ("all limits", LIMITS), ("a limit", LIMITS)],
)
def test_a_step_without_effect_is_noticed_by_the_host(shim, fault, mechanism):
    environment = preloading(shim, fault)
    # Nobody notices where it is not asked for.
    assert run_with(environment, without_mechanisms(mechanism)) == 7
    with pytest.raises(UnavailableError) as caught:
        run_with(environment)
    assert (caught.value.step, caught.value.detail) == ("receipt", mechanism)
    assert caught.value.remedy


def test_nothing_is_noticed_where_nothing_is_wrong(shim):
    assert run_with(preloading(shim, "nothing")) == 7


# --- what the host notices ---------------------------------------------------

KINDS = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup")
HOST = dict.fromkeys(KINDS, 100)
GOOD = {
    **{kind: 200 + place for place, kind in enumerate(KINDS)},
    "no_new_privs": 1,
    "seccomp": 2,
    "filters": 2,
    "filters_before": 1,
    "landlock": 1,
    "NPROC": 1,
    "AS": 1,
    "DATA": 1,
}
ALL = zygotes.ALL_MECHANISMS
VIEW_ALONE = _csandbox.MECHANISMS["mount namespace"]
NET_ALONE = _csandbox.MECHANISMS["network namespace"]


def noticed(change, mechanisms=ALL):
    return _csandbox.check_receipt(mechanisms, HOST, {**GOOD, **change})


def test_a_receipt_in_order_passes():
    assert noticed({}) == ""
    assert noticed(HOST, BARE) == ""
    # Old kernels do not count filters.
    assert noticed({"filters": 0, "filters_before": 0}) == ""


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"no_new_privs": 0}, "no new privileges"),
        ({"seccomp": 0}, "seccomp"),
        ({"seccomp": 1}, "seccomp"),  # strict mode is no filter
        ({"filters": 1}, "seccomp"),
        ({"landlock": 0}, "landlock"),
        *(
            ({name: 1}, "capabilities")
            for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
        ),
        *(({kind: 100}, "namespaces") for kind in KINDS if kind != "net"),
        ({"net": 100}, "network namespace"),
        *(
            ({name: 2**64 - 1}, "rlimits")
            for name in ("AS", "DATA", "NPROC", "NOFILE", "CPU", "CORE")
        ),
    ],
)
def test_each_thing_that_is_not_as_planned_is_noticed(change, name):
    if _csandbox.SANITIZED and "AS" in change:
        return  # their shadow memory is terabytes wide
    assert noticed(change) == name


def test_each_check_holds_alone():
    assert noticed({"mnt": 100}, VIEW_ALONE) == "mount namespace"
    assert noticed({"net": 100}, NET_ALONE) == "network namespace"
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert noticed({name: 1}, BARE) == "capabilities"
    assert noticed({"CapBnd": 1}, BARE) == ""
    assert noticed({"landlock": 0}, BARE) == "landlock"
    assert noticed({"filters": 1}, BARE) == "seccomp"
