"""How a process comes by its mechanisms: every way down, and what is none."""

import os
import threading
from errno import (
    EACCES,
    EAGAIN,
    EINVAL,
    EIO,
    EMFILE,
    ENODEV,
    ENOMEM,
    ENOSPC,
    ENOSYS,
    EOPNOTSUPP,
    EPERM,
    ETIMEDOUT,
    EUSERS,
)

import pytest

import csandbox
import hosts
from csandbox import _csandbox, forking, guarantees, terms, tiers, zygotes
from csandbox.errors import UnavailableError
from csandbox.policy import REQUIRABLE, Policy
from csandbox.zygotes import Template

BARE = ["landlock", "rlimits", "seccomp"]
ALL = sorted(_csandbox.MECHANISMS)


class Faults:
    """Makes steps fail in all plans that have what the step is for.

    `plans` are the plans that were made, as masks of mechanisms.
    """

    def __init__(self):
        self.steps = {}
        self.zygotes = []

    def __call__(self, step, number):
        self.steps[step] = number

    def of(self, mechanisms):
        """Return the fault of a plan, or None."""
        for step, number in self.steps.items():
            lost = tiers.lost_by(UnavailableError("", step, number, ""))
            needs = {"namespaces": "pid namespace", "": "seccomp"}
            bit = guarantees.BITS[needs.get(lost, lost)]
            if mechanisms & bit:
                return step, number
        return None


@pytest.fixture
def fails(monkeypatch):
    """Let this process find out anew, with Faults, and forget it then."""
    real, start = _csandbox.build_plan, _csandbox.Zygote
    faults = Faults()

    def build(view, preload, uid, mechanisms, fault=None, **options):
        fault = fault or faults.of(mechanisms)
        return real(view, preload, uid, mechanisms, fault, **options)

    def zygote(argv, env, mechanisms, fault):
        faults.zygotes.append(mechanisms)
        return start(argv, env, mechanisms, fault or faults.of(mechanisms))

    with monkeypatch.context() as patch:
        patch.setattr(tiers, "_choice", tiers._Choice())
        patch.setattr(zygotes, "_registry", zygotes.Registry())
        patch.setattr(forking, "_plans", {})
        patch.setattr(_csandbox, "build_plan", build)
        patch.setattr(_csandbox, "Zygote", zygote)
        yield faults
        zygotes._registry.close()


def tier_of_a_run(**policy):
    result = csandbox.execute("1 + 1", **policy)
    assert result.unwrap() == 2
    return result.isolation


def namespaces_lost():
    return [
        (step, number)
        for step, lost, numbers in tiers._LOSSES
        for number in numbers
        if lost == "namespaces"
        and step in _csandbox.STEPS
        and step != "ambient-capabilities"
    ]


# --- down --------------------------------------------------------------------


def test_the_first_run_finds_all_and_costs_no_second_zygote(fails):
    isolation = tier_of_a_run()
    assert isolation.tier == tiers.current().name == "full"
    assert tiers.current().causes == ()
    for _ in range(3):
        tier_of_a_run()
    assert len(fails.zygotes) == 1


@pytest.mark.parametrize(
    ("step", "number"),
    namespaces_lost()
    + [("view-mount", EPERM), ("view-pivot", EACCES), ("view-root", ENOSYS)],
)
def test_without_namespaces_the_next_tier_is_tried(fails, step, number):
    fails(step, number)
    isolation = tier_of_a_run()
    assert isolation.tier == "landlock"
    assert guarantees.names(fails.zygotes[-1]) == {*BARE}
    (cause,) = tiers.current().causes
    assert (cause.lost, cause.step, cause.errno) == (
        "namespaces",
        step,
        number,
    )
    assert all(isolation.guarantees.values())


@pytest.mark.parametrize("step", ["landlock-paths", "landlock"])
@pytest.mark.parametrize("number", [ENOSYS, EOPNOTSUPP, EPERM])
def test_without_landlock_the_namespaces_stay(fails, step, number):
    fails(step, number)
    isolation = tier_of_a_run()
    assert isolation.tier == "full"
    assert isolation.mechanisms & {*ALL} == {*ALL} - {"landlock"}
    assert isolation.landlock_abi == 0
    assert tiers.current().cause("landlock").errno == number
    assert isolation.guarantees["files"] == ("mount namespace",)


def test_with_neither_only_what_computes_runs(fails):
    fails("namespaces", EPERM)
    fails("landlock-paths", ENOSYS)
    with pytest.raises(UnavailableError, match='profile="compute"') as caught:
        csandbox.execute("1")
    assert caught.value.guarantee == "files"
    assert caught.value.step == "landlock-paths"
    isolation = tier_of_a_run(profile="compute")
    assert isolation.tier == tiers.current().name == "compute"
    assert isolation.guarantees["files"] == ("no path calls",)


def test_below_that_nothing_runs_and_the_best_tiers_error_is_raised(fails):
    fails("namespaces", ENOSPC)
    fails("landlock-paths", ENOSYS)
    fails("seccomp", EINVAL)
    with pytest.raises(UnavailableError) as caught:
        csandbox.execute("1", profile="compute")
    assert caught.value.step == "seccomp"
    assert tiers.current() is None


# --- no way down -------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "number"),
    [
        ("namespaces", EAGAIN),
        ("namespaces", ENOMEM),
        ("host-descriptors", EMFILE),
        ("boot", ETIMEDOUT),
        ("uid-map", EIO),
        ("view-source", EACCES),
        ("view-mount", ENOMEM),
        ("scratch", ENOSPC),
        ("init", EAGAIN),
        ("fork", EAGAIN),
        ("cell-user-namespace", ENOMEM),
        ("landlock-paths", EMFILE),
        ("landlock", ENOMEM),
        ("seccomp", EPERM),
        ("canary", EPERM),
        ("receipt", EPERM),
        ("cell-limits", EPERM),
    ],
)
def test_what_may_pass_is_an_error_and_no_reason(fails, step, number):
    fails(step, number)
    with pytest.raises(UnavailableError) as caught:
        csandbox.execute("1")
    assert (caught.value.step, caught.value.errno) == (step, number)
    assert tiers.current() is None
    assert len(fails.zygotes) == 1
    # It asks for the best again once that has passed.
    fails.steps.clear()
    assert tier_of_a_run().tier == "full"


@pytest.mark.parametrize(
    ("step", "number"),
    [
        ("namespaces", ENOSPC),
        ("namespaces", EPERM),
        ("view-mount", EPERM),
        ("cell-user-namespace", ENOSPC),
        ("cell-user-namespace", EUSERS),
        ("scratch", ENODEV),
        ("landlock", ENOSYS),
    ],
)
def test_after_a_run_nothing_makes_it_less(fails, step, number):
    assert tier_of_a_run().tier == "full"
    fails(step, number)
    # A policy that needs another zygote meets what a neighbour used up.
    with pytest.raises(UnavailableError) as caught:
        csandbox.execute("1", preload=("json",))
    assert (caught.value.step, caught.value.errno) == (step, number)
    assert tiers.current().name == "full"
    fails.steps.clear()
    assert tier_of_a_run(preload=("re",)).tier == "full"


def test_forty_threads_find_out_once(fails):
    fails("namespaces", EPERM)
    start = threading.Barrier(40)
    found = []

    def run():
        start.wait()
        found.append(csandbox.execute("1").isolation.tier)

    threads = [threading.Thread(target=run) for _ in range(40)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert found == ["landlock"] * 40
    assert len(fails.zygotes) == 2


def test_a_fork_of_the_host_keeps_the_choice(fails):
    fails("namespaces", EPERM)
    tier_of_a_run()
    fails.steps.clear()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.write(write, csandbox.execute("1").isolation.tier.encode())
            zygotes._registry.close()
            status = 0
        finally:
            os._exit(status)
    os.close(write)
    _, status = os.waitpid(pid, 0)
    told = os.read(read, 100)
    os.close(read)
    assert (told, status) == (b"landlock", 0)


def test_a_bad_module_to_preload_costs_no_tier(fails):
    with pytest.raises(UnavailableError) as caught:
        csandbox.execute("1", preload=("no_such_module",))
    assert caught.value.step == "preload"
    assert tier_of_a_run().tier == "full"


def test_a_first_run_of_several_processes_leaves_no_other_zygote(fails):
    assert tier_of_a_run(processes=2).tier == "full"
    living = set(zygotes._registry.zygotes)
    assert [each for each in living if each.several]
    assert len(fails.zygotes) == 2


def test_a_first_run_in_a_fork_of_the_host_starts_no_zygote():
    program = """
import csandbox, hosts
from csandbox import tiers, zygotes
result = csandbox.execute("1", start="fork")
hosts.show([
    result.isolation.tier, tiers.current().name,
    len(zygotes._registry.zygotes), csandbox.execute("1").isolation.tier,
])
"""
    assert hosts.run(program) == ["full", "full", 0, "full"]


# --- require -----------------------------------------------------------------


def test_every_name_of_require_stands_for_mechanisms():
    assert {*guarantees.REQUIRED} == {*REQUIRABLE}
    for names in guarantees.REQUIRED.values():
        assert guarantees.mask(names)
        assert {*names} <= {*guarantees.NEEDS}


@pytest.mark.parametrize("name", ["namespaces", "landlock", "seccomp"])
def test_what_is_required_and_there_is_no_matter(name):
    assert tier_of_a_run(require={name}).tier == "full"


@pytest.mark.parametrize(
    ("name", "step", "number"),
    [
        ("namespaces", "namespaces", EPERM),
        ("namespaces", "uid-map", EACCES),
        ("landlock", "landlock-paths", EOPNOTSUPP),
    ],
)
def test_what_is_required_and_lost_is_refused(
    fails, name, step, number, capsys
):
    fails(step, number)
    tier_of_a_run()
    with pytest.raises(UnavailableError, match=f"require='{name}'") as caught:
        csandbox.run("print('it ran')", require={name})
    assert (caught.value.step, caught.value.errno) == (step, number)
    assert caught.value.remedy
    assert capsys.readouterr().out == ""
    # Others run on.
    assert csandbox.run("2") == 2


def test_the_cell_itself_is_asked(monkeypatch, capsys):
    # As if a mechanism had gone after the choice: the cell has not got it.
    everything = sum(guarantees.BITS.values())
    monkeypatch.setattr(terms, "required", lambda policy: everything)
    monkeypatch.setattr(zygotes, "current_cgroup", lambda: None)
    with pytest.raises(UnavailableError) as caught:
        csandbox.run("print('it ran')", require={"seccomp"})
    assert caught.value.step == "require"
    assert "cgroup v2" in caught.value.detail or "user" in caught.value.detail
    assert "seccomp" not in caught.value.detail
    assert capsys.readouterr().out == ""


def test_processes_need_namespaces(fails):
    fails("namespaces", EPERM)
    tier_of_a_run()
    with pytest.raises(UnavailableError, match="processes=4") as caught:
        csandbox.run("2", processes=4)
    assert caught.value.guarantee == "processes"
    with pytest.raises(UnavailableError, match="processes=4"):
        csandbox.run("2", processes=4, require={"landlock"})


def test_a_first_run_of_processes_is_refused_just_so(fails):
    fails("namespaces", EPERM)
    with pytest.raises(UnavailableError, match="processes=4"):
        csandbox.run("2", processes=4)
    assert tiers.current().name == "landlock"


@pytest.mark.parametrize("before", [False, True])
def test_a_fork_of_the_host_has_the_same_tier(fails, before):
    fails("namespaces", EPERM)
    if before:
        tier_of_a_run()
    forked = tier_of_a_run(start="fork", allow_threads=True)
    assert forked.tier == tiers.current().name == "landlock"
    assert tier_of_a_run().tier == "landlock"


# --- receipts ----------------------------------------------------------------

# What a receipt is made of is read by csb_receipt_finish() in the cell.


def test_the_receipt_is_the_kernels_account():
    isolation = csandbox.execute("1").isolation
    kernel = isolation.kernel
    assert kernel.no_new_privs
    assert kernel.seccomp == 2
    assert kernel.filters >= 1
    assert {*kernel.namespaces} == {
        *("user", "mnt", "pid", "net", "ipc", "uts", "cgroup")
    }
    assert kernel.effective == kernel.permitted == kernel.bounding == 0
    assert kernel.ambient == kernel.inheritable == 0
    limits = dict(kernel.limits)
    assert limits["NPROC"] == 17
    assert limits["NOFILE"] == 256
    assert limits["CORE"] == 0
    assert isolation.uid == zygotes.uid()
    own = isolation.uid != os.geteuid()
    assert ("own user id" in isolation.mechanisms) == own


def test_the_guest_sees_the_same():
    inside = csandbox.run(
        "import resource\n"
        "{n: resource.getrlimit(getattr(resource, 'RLIMIT_' + n))[1]"
        " for n in ('AS', 'DATA', 'NPROC', 'NOFILE', 'CPU', 'CORE')}"
    )
    told = dict(csandbox.execute("1").isolation.kernel.limits)
    for name in ("NPROC", "NOFILE", "CPU", "CORE"):
        assert told[name] == inside[name]


def test_a_guest_finds_no_descriptor_of_its_receipt():
    source = """
import os
open_ones = []
for number in range(64):
    try:
        os.fstat(number)
    except OSError:
        continue
    open_ones.append(number)
open_ones
"""
    assert csandbox.run(source) == [0, 1, 2, 3, 4, 5]


def test_receipts_of_lesser_plans_say_less():
    bare = guarantees.mask(BARE)
    result = _run(Template(mechanisms=bare))
    assert result.isolation.tier == "landlock"
    assert result.isolation.kernel.namespaces == ()
    assert result.isolation.mechanisms & {*ALL} == {*BARE}


def test_a_receipt_compares_and_hashes_without_what_varies():
    first, second = (csandbox.execute("1", timeout=t) for t in (5, 50))
    assert first.isolation == second.isolation
    assert hash(first.isolation) == hash(second.isolation)
    assert first.isolation.kernel != second.isolation.kernel
    assert first.isolation != 1


def _run(template):
    from csandbox import jobs, sandbox

    job, cargo = jobs.source_job("1", "<guest>", [""], {}, None)
    try:
        return sandbox._execute(
            job, cargo, b"", Policy(scratch=0), template=template
        )
    finally:
        living = zygotes._registry.zygotes.get(template)
        if living is not None:
            zygotes.discard(template, living)
