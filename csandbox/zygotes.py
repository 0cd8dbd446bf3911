"""The zygotes of this process: one per plan, started when first needed.

Safe from any thread.  In a fork of this process there are none to begin with:
the descriptors that it inherited are closed, the processes stay its parent's.
"""

from __future__ import annotations

import atexit
import os
import sys
from errno import (
    EBADF,
    ECONNRESET,
    ENODEV,
    ENOENT,
    ENOTCONN,
    ENOTSOCK,
    EPIPE,
)
from time import monotonic, sleep

from csandbox import _csandbox, bootstrap, cgroups, guarantees
from csandbox.errors import UnavailableError
from csandbox.light import RLock
from csandbox.remedies import remedy
from csandbox.result import Record
from csandbox.view import environment_view, roots, unused_uid
from csandbox.zygote_pool import Registry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TypeAlias

    from typing_extensions import Buffer

    from csandbox import scratches
    from csandbox._csandbox import Inputs, Run, Zygote
    from csandbox.policy import Policy

    Parts: TypeAlias = Sequence[tuple[int, Buffer]]

ANSWER_SECONDS = 2.0
TRIAL_SECONDS = 30.0
ATTEMPTS = 3
BOOT_SECONDS = 60.0  # imports of preload included
# The last two: its socket was closed by others, or is a file of others now.
DEAD = (EPIPE, ECONNRESET, ENOTCONN, EBADF, ENOTSOCK)
ALL_MECHANISMS: int = sum(_csandbox.MECHANISMS.values())


class Template(Record):
    """What tells one zygote from another."""

    preload: tuple[str, ...] = ()
    several: bool = False  # runs may have more than one process
    threads: int = 0  # of libraries that are preloaded; 0: as they like
    compute: bool = False  # no file, thread or process after preload
    user: int = -1  # whose process starts it; -1: who it was first
    mechanisms: int = ALL_MECHANISMS
    fault: tuple[str, int] | None = None

    @property
    def is_bare(self) -> bool:
        """Whether its runs have no namespaces."""
        return not self.mechanisms & _csandbox.MECHANISMS["pid namespace"]


_registry = Registry()
# Held while descriptors are made that nobody could close in a fork.
_no_fork = RLock()
_first_user = os.geteuid()
_uid: int | None = None
_roots: tuple[str, ...] | None = None


def uid() -> int:
    """Return the user id, as the host sees it, that guests run as."""
    global _uid
    if not _csandbox.is_root():
        return os.geteuid()
    if _uid is None:
        _uid = unused_uid()
    return _uid


def changed_user() -> int:
    """Return the user that this process has become, -1 if it is as it was."""
    user = os.geteuid()
    return -1 if user == _first_user else user


def registry() -> Registry:
    """Return what this process has of zygotes, cells and inputs."""
    return _registry


def adopt_successor(run: Run) -> Run | None:
    """Return the cell armed during a run, if any; a fork closes it."""
    with _no_fork:
        successor = run.successor()
        if successor is not None:
            _registry.runs.add(successor)
    return successor


def tend() -> None:
    """See to the zygotes that are kept, after a run."""
    _registry.tend(_start_heir)


def make_inputs(parts: Parts) -> Inputs:
    """Return a store of inputs, which a fork of this process closes."""
    inputs = _csandbox.Inputs()
    _registry.inputs.add(inputs)  # before it has anything to close
    inputs.write([*parts])
    return inputs


def _request(
    zygote: Zygote,
    policy: Policy,
    inputs: Inputs | None = None,
    template: Template | None = None,
) -> Run:
    bare = template is not None and template.is_bare
    bounds = limits(policy)
    deadline = monotonic() + ANSWER_SECONDS
    while True:
        try:
            with _no_fork:
                return _ask(zygote, policy, bounds, inputs, bare=bare)
        except BlockingIOError:
            # More requests than the socket holds.
            if monotonic() > deadline:
                raise
            sleep(0.002)


def _ask(
    zygote: Zygote,
    policy: Policy,
    bounds: dict[str, int],
    inputs: Inputs | None,
    *,
    bare: bool,
) -> Run:
    """Ask for a cell, in a cgroup of its own if there are any to have."""
    if bare:  # which the host lists and unlinks, in the caller's time
        bounds = {**bounds, "inodes": min(bounds["inodes"], 16384)}
    for attempt in (1, 2):
        base = cgroups.current()
        leaf = base.next_leaf() if isinstance(base, cgroups.Base) else None
        try:
            run = zygote.start(
                **bounds,
                store=policy.result_bytes,
                inputs=inputs,
                leaf=leaf,
                place=_place(policy) if bare else None,
            )
        except _csandbox.SetupError as error:
            if attempt == 2 or error.args[1] not in (ENOENT, ENODEV):
                raise
            cgroups.forget()  # somebody has removed the base
            continue
        _registry.runs.add(run)
        if isinstance(base, cgroups.Base) and leaf is not None:
            base.keep(run, leaf)
        return run
    raise AssertionError("unreachable")


def _place(policy: Policy) -> scratches.Place:
    from csandbox import scratches

    try:
        return scratches.place_for(policy.scratch_bytes)
    except OSError as error:
        raise unavailable(
            "scratch", error.errno or 0, error.filename or ""
        ) from None


def current_cgroup() -> cgroups.Base | cgroups.Absence:
    """Return where runs get cgroups of their own, or why they get none."""
    with _no_fork:
        return cgroups.current()


def discard(template: Template, zygote: Zygote) -> None:
    """End a zygote, and every run of it; the next run starts another."""
    registry = _registry
    with registry.lock:
        if registry.zygotes.get(template) is zygote:
            del registry.zygotes[template]
    zygote.close()
    registry.armed.forget(zygote)


def discard_of(template: Template) -> None:
    """End the zygote of a template, if it has one."""
    zygote = _registry.zygotes.get(template)
    if zygote is not None:
        discard(template, zygote)


def answers(zygote: Zygote, policy: Policy) -> bool:
    """Whether a zygote still arms cells, tried with one."""
    try:
        outcome = _idle_cell(zygote, policy)
    except (OSError, _csandbox.SetupError):
        return False
    return outcome["ending"] not in ("setup", "lost")


def try_cell(zygote: Zygote, policy: Policy, template: Template) -> None:
    """Have a cell made ready that gets no job, or raise UnavailableError."""
    try:
        outcome = _idle_cell(zygote, policy, template, TRIAL_SECONDS)
    except _csandbox.SetupError as error:
        raise unavailable(*error.args) from None
    except OSError as error:
        step = "boot" if error.errno in DEAD else "host-descriptors"
        raise unavailable(step, error.errno or 0, "") from None
    if outcome["ending"] == "setup":
        raise setup_error(outcome)
    if not outcome["ready"]:
        raise unavailable("cell", 0, "")


def _idle_cell(
    zygote: Zygote,
    policy: Policy,
    template: Template | None = None,
    seconds: float = ANSWER_SECONDS,
) -> dict[str, Any]:
    """Return how a cell ended that had nothing to do."""
    cell = _request(zygote, policy, template=template)
    try:
        # Without a job it exits at once.
        return cell.communicate(
            b"",
            b"",
            timeout=seconds,
            setup_timeout=seconds,
            cpu_time=seconds,
            memory=policy.memory_bytes,
            tasks=1,
            processes=0,
            output=0,
            output_kills=False,
            result=0,
            required=0,
            signals=False,
            sink=None,
            successor=False,
            hurried=False,
        )
    finally:
        cell.close()


def most() -> int:
    """Return how many zygotes are kept at most."""
    return _registry.most


def set_most(count: int) -> None:
    """Keep so many zygotes at most."""
    _registry.most = count
    _registry.trim()


def disarm() -> int:
    """End the cells that wait for jobs, and return how many there were."""
    count = len(_registry.armed)
    _registry.armed.close()
    return count


def shutdown() -> None:
    """End all zygotes, unless one has runs."""
    disarm()
    if not _registry.runs:
        _registry.close()


def kill_runs() -> None:
    """End all runs of this process as cancelled."""
    for run in list(_registry.runs):
        run.kill()


def end() -> None:
    """End all zygotes and what they run, as the interpreter exits."""
    global _registry
    # A daemon thread that ends in the middle never gives its locks back.
    _free(_no_fork)
    old, _registry = _registry, Registry(_registry.most)
    if "csandbox.scratches" not in sys.modules and not cgroups.has_base():
        old.leave()
        return
    # What is removed soon must be empty then.
    for zygote in list(old.booting):
        zygote.close()
    old.close()


def visible_roots() -> tuple[str, ...]:
    """Return the directories of the host that every cell sees."""
    global _roots
    if _roots is None:
        _roots = roots(environment_view())
    return _roots


def booted(template: Template, *, whole: bool = False) -> Zygote:
    """Return the zygote of a template, started if need be.

    A `whole` one has imported what others import when they are idle.
    """
    registry = _registry
    zygote = registry.zygotes.get(template)
    if zygote is not None:
        return zygote
    with registry.lock:
        starting = registry.starting.setdefault(template, RLock())
    # One start per template; others are not kept waiting for it.
    with starting:
        zygote = registry.zygotes.get(template)
        if zygote is None:
            try:
                zygote = _start(template, whole)
            finally:  # those that cannot start, too
                registry.starting.pop(template, None)
    return zygote


def build_plan(template: Template, *, whole: bool = False) -> bytes:
    """Return what zygotes of a template are to do, as data."""
    # To preload anything, all of the guest's side is loaded.
    names = template.preload or (("builtins",) if whole else ())
    try:
        return _csandbox.build_plan(
            environment_view(programs=template.several),
            ",".join(names),
            uid() if _csandbox.is_root() else 0,
            template.mechanisms,
            template.fault,
            several=template.several,
            compute=template.compute,
        )
    except OSError as error:
        # A call of the table that this libseccomp has never heard of.
        raise unavailable(
            "host-descriptors", error.errno or 0, "the filter"
        ) from None


def _start(template: Template, whole: bool) -> Zygote:
    """Return a zygote that is ready, and kept."""
    registry = _registry
    zygote = _new_zygote(template)
    registry.booting.add(zygote)
    try:
        _bring_up(zygote, template, whole)
        return registry.keep(template, zygote)
    except _csandbox.SetupError as error:
        raise unavailable(*error.args) from None
    finally:
        registry.booting.discard(zygote)


def _bring_up(zygote: Zygote, template: Template, whole: bool) -> None:
    try:
        with _no_fork:
            zygote.launch()
        # While Python starts there:
        zygote.take_plan(build_plan(template, whole=whole))
        _prepare_the_rest()
        zygote.boot(BOOT_SECONDS)
    except BaseException:
        zygote.close()  # or it would live as long as the traceback
        raise


def _prepare_the_rest() -> None:
    """Do, while Python starts there, what the run is about to need here."""
    from csandbox import endings, receipts, violations  # noqa: F401

    current_cgroup()


def _start_heir(template: Template) -> None:
    """Launch a zygote that shall be ready later."""
    registry = _registry
    zygote = _new_zygote(template)
    zygote.take_plan(build_plan(template, whole=True))
    with _no_fork:
        zygote.launch()
        registry.heirs[template] = zygote


def _new_zygote(template: Template) -> Zygote:
    if not sys.executable:
        raise unavailable("exec", 2, "sys.executable is empty")
    text = bootstrap.text(compute=template.compute)
    argv = [sys.executable, *bootstrap.FLAGS, "-c", text]
    environment = _environment(template)
    return _csandbox.Zygote(
        argv, environment, template.mechanisms, template.fault
    )


def _environment(template: Template | None = None) -> list[str]:
    """Return what the zygote itself needs; guests get the policy's."""
    variables = ["LANG=C.UTF-8"]
    if template is not None and template.threads:
        variables.append(f"OMP_NUM_THREADS={template.threads}")
    # Without it some Pythons do not find their own library, and a build
    # with sanitizers not theirs.
    for name in ("LD_LIBRARY_PATH", *_SANITIZERS):
        if name in os.environ:
            variables.append(f"{name}={os.environ[name]}")
    return variables


_SANITIZERS = (
    ("LD_PRELOAD", "ASAN_OPTIONS", "UBSAN_OPTIONS")
    if _csandbox.SANITIZED
    else ()
)


def limits(policy: Policy) -> dict[str, int]:
    """Return what a cell is limited to before it has its job."""
    scratch = policy.scratch_bytes
    return {
        "memory": policy.memory_bytes,
        "scratch": scratch,
        "inodes": max(64, scratch // 4096),
        "threads": policy.threads,
        "processes": policy.processes,
        # Each may be a pipe, and pipes of an ordinary user's guests count
        # as that user's: it has 1024 of full size (pipe(7)).
        "descriptors": 256,
        "cpu_seconds": cpu_backstop(policy),
    }


def cpu_backstop(policy: Policy) -> int:
    """Return whole seconds of one process, should the host look too late.

    A power of two, so that runs whose timeouts differ a little can have each
    other's cells.
    """
    return 1 << (int(policy.cpu_seconds) + 1).bit_length()


def unavailable(step: str, errno: int, detail: str) -> UnavailableError:
    """Return the error for a failed step of set-up, with its remedy."""
    guarantee, text = remedy(step, errno)
    return UnavailableError(guarantee, step, errno, text, detail)


def setup_error(outcome: dict[str, Any]) -> UnavailableError:
    """Return the error for a cell that never became ready."""
    step, errno = outcome["step"], outcome["errno"]
    if step == "require":
        return _unmet(outcome["detail"])
    detail = outcome["text"]
    if step == "canary" and outcome["detail"]:
        detail = f"canary {outcome['detail']}: a forbidden thing was possible"
    return unavailable(step, errno, detail)


def _unmet(bits: int) -> UnavailableError:
    """Return the error for a cell without what its policy requires."""
    missing = sorted(guarantees.names(bits))
    advice = [f"It needs {guarantees.NEEDS[name]}." for name in missing]
    found = current_cgroup() if guarantees.CGROUP in missing else None
    if isinstance(found, cgroups.Absence):
        about = f": {found.detail}" if found.detail else ""
        advice.append(f"Here {found.reason}{about}. {found.remedy}")
    return UnavailableError(
        "", "require", 0, " ".join(advice), ", ".join(missing)
    )


def _forget_in_child() -> None:
    global _registry
    _csandbox.fork_began()
    cgroups.forget()
    if "csandbox.scratches" in sys.modules:
        sys.modules["csandbox.scratches"].forget()
    _free(_no_fork)
    old, _registry = _registry, Registry(_registry.most)
    for run in list(old.runs):
        run.close()
    for inputs in list(old.inputs):
        inputs.close()
    for zygote in old.booting:
        zygote.close()
    old.close()


def _free(lock: Any) -> None:
    # In place, as the hooks below know this lock.
    lock._at_fork_reinit()


def _close_cgroups() -> None:
    with _no_fork:
        cgroups.close()
        if "csandbox.scratches" in sys.modules:
            sys.modules["csandbox.scratches"].close()


# Functions of C, in which no signal handler can raise between two steps: the
# last that is registered is the first before a fork, and the last after it.
os.register_at_fork(
    before=_csandbox.fork_begins,
    after_in_parent=_csandbox.fork_ends,
    after_in_child=_forget_in_child,
)
os.register_at_fork(before=_no_fork.acquire, after_in_parent=_no_fork.release)
atexit.register(_close_cgroups)
