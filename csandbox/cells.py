"""Cells for jobs: those that wait for one, and those that are made for it."""

from __future__ import annotations

from csandbox import _csandbox, cgroups, zygotes
from csandbox.terms import terms_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from csandbox._csandbox import Inputs, Run, Zygote
    from csandbox.policy import Policy
    from csandbox.zygotes import Parts, Template


def start_run(
    template: Template, policy: Policy, parts: Parts = ()
) -> tuple[Zygote, Run]:
    """Return a cell for a job, that waits for it or is in the making.

    Its zygote is started if need be.  It has `parts`, large inputs.
    """
    try:
        armed = _armed_run(template, policy, parts)
        if armed is not None:
            return armed
        inputs = zygotes.make_inputs(parts) if parts else None
    except OSError as error:
        raise zygotes.unavailable(
            "host-descriptors", error.errno or 0, "the inputs"
        ) from None
    try:
        return _make_run(template, policy, inputs)
    finally:
        if inputs is not None:
            inputs.close()  # the cell has it


def _armed_run(
    template: Template, policy: Policy, parts: Parts
) -> tuple[Zygote, Run] | None:
    """Return a cell that waits, and has these inputs now, if there is one."""
    if not _may_wait(parts) or not may_be_armed(template):
        return None
    armed = zygotes.registry().armed.take(
        _kind(template, policy, stored=bool(parts))
    )
    if armed is not None and parts:
        try:
            armed[1].take_inputs([*parts])
        except BaseException:
            armed[1].close()
            raise
    return armed


def _make_run(
    template: Template, policy: Policy, inputs: Inputs | None
) -> tuple[Zygote, Run]:
    attempt = 0
    while attempt < zygotes.ATTEMPTS:
        zygote = zygotes.booted(template)
        try:
            return zygote, zygotes._request(zygote, policy, inputs, template)
        except _csandbox.SetupError as error:
            raise zygotes.unavailable(*error.args) from None
        except OSError as error:
            if error.errno not in zygotes.DEAD:
                raise zygotes.unavailable(
                    "host-descriptors", error.errno or 0, ""
                ) from None
            # It was killed while idle, and nothing was lost by it.
            attempt += zygotes.registry().holds(template, zygote)
            zygotes.discard(template, zygote)
    raise zygotes.unavailable("boot", 0, "killed again and again")


def _may_wait(parts: Parts) -> bool:
    """Whether there is room for large inputs in a cell that waits for them."""
    return not parts or (
        parts[-1][0] + memoryview(parts[-1][1]).nbytes
        <= _csandbox.INPUTS_ARMED
    )


def _kind(template: Template, policy: Policy, *, stored: bool = False) -> int:
    return terms_of(policy).kind(template, stored=stored)


def wants_successor(
    template: Template, policy: Policy, parts: Parts = ()
) -> bool:
    """Whether a run shall have a cell like its own armed meanwhile."""
    return (
        may_be_armed(template)
        and _may_wait(parts)
        and zygotes.registry().armed.wants(
            _kind(template, policy, stored=bool(parts))
        )
    )


def may_be_armed(template: Template) -> bool:
    """Whether cells of a template can wait for jobs."""
    # What a run has of its own, a directory or a cgroup, comes with its cell;
    # and one that may only compute has no call to wait with.
    return (
        not template.is_bare
        and not template.compute
        and not isinstance(cgroups.current(), cgroups.Base)
    )


def is_armed(template: Template, policy: Policy) -> bool | None:
    """Whether the cell a run would get is ready; None if there is none."""
    return zygotes.registry().armed.is_ready(_kind(template, policy))


def expect(template: Template, policy: Policy) -> None:
    """Have a run of this kind leave a cell armed, however rare it is."""
    zygotes.registry().armed.expect(_kind(template, policy))


def keep_successor(
    template: Template,
    policy: Policy,
    zygote: Zygote,
    run: Run,
    parts: Parts = (),
) -> None:
    """Let the cell wait that was armed during a run, if there is one."""
    registry = zygotes.registry()
    successor = zygotes.adopt_successor(run)
    if successor is None:
        pass
    elif registry.holds(template, zygote):
        kind = _kind(template, policy, stored=bool(parts))
        registry.armed.put(kind, zygote, successor)
    else:  # it leaves
        successor.close()
    zygotes.tend()
    if not parts and not registry.holds(template, zygote):
        _arm_heir(template, policy)


def _arm_heir(template: Template, policy: Policy) -> None:
    """Have a cell ready in the zygote that has come in another's place."""
    registry = zygotes.registry()
    zygote = registry.zygotes.get(template)
    # What is required is looked at by the run that asks.
    if zygote is None or policy.require:
        return
    if not wants_successor(template, policy):
        return
    try:
        run = zygotes._request(zygote, policy, template=template)
    except (OSError, _csandbox.SetupError):
        return  # the next run asks
    registry.armed.put(_kind(template, policy), zygote, run)
