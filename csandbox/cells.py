"""Cells for jobs: those that wait for one, and those that are made for it."""

from __future__ import annotations

from errno import EAGAIN, EMFILE, ENFILE, ENOMEM

from csandbox import _csandbox, cgroups, zygotes
from csandbox.errors import UnavailableError
from csandbox.terms import terms_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from csandbox._csandbox import Inputs, Run, Zygote
    from csandbox.policy import Policy
    from csandbox.terms import Terms
    from csandbox.zygotes import Parts, Template

SHORT = (EAGAIN, EMFILE, ENFILE, ENOMEM)  # there may be more of it later


class Order:
    """What a run wants: a cell of this zygote and policy, with large inputs.

    `kind` is that of the cells which may wait for such a job, 0 if none may.
    """

    __slots__ = ("kind", "parts", "policy", "template")

    def __init__(
        self,
        template: Template,
        policy: Policy,
        parts: Parts = (),
        terms: Terms | None = None,
    ) -> None:
        self.template = template
        self.policy = policy
        self.parts = parts
        self.kind = 0
        if may_be_armed(template) and _may_wait(parts):
            terms = terms or terms_of(policy)
            self.kind = terms.kind(template, stored=bool(parts))


def start_run(order: Order) -> tuple[Zygote, Run]:
    """Return a cell for a job, that waits for it or is in the making.

    Its zygote is started if need be.
    """
    try:
        return _start_run(order)
    except UnavailableError as error:
        # What waits may have had what is missing.
        if error.errno not in SHORT or not zygotes.disarm():
            raise
    return _start_run(order)


def _start_run(order: Order) -> tuple[Zygote, Run]:
    parts = order.parts
    try:
        armed = _armed_run(order)
        if armed is not None:
            return armed
        inputs = zygotes.make_inputs(parts) if parts else None
    except OSError as error:
        raise zygotes.unavailable(
            "host-descriptors", error.errno or 0, "the inputs"
        ) from None
    try:
        return _make_run(order, inputs)
    finally:
        if inputs is not None:
            inputs.close()  # the cell has it


def _armed_run(order: Order) -> tuple[Zygote, Run] | None:
    """Return a cell that waits, and has its inputs now, if there is one."""
    if not order.kind:
        return None
    armed = zygotes.registry().armed.take(order.kind)
    if armed is not None and order.parts:
        try:
            armed[1].take_inputs([*order.parts])
        except BaseException:
            armed[1].close()
            raise
    return armed


def _make_run(order: Order, inputs: Inputs | None) -> tuple[Zygote, Run]:
    template = order.template
    attempt = 0
    while attempt < zygotes.ATTEMPTS:
        zygote = zygotes.booted(template)
        try:
            return zygote, zygotes._request(
                zygote, order.policy, inputs, template
            )
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


def wants_successor(order: Order) -> bool:
    """Whether a run shall have a cell like its own armed meanwhile."""
    registry = zygotes.registry()
    return order.kind > 0 and registry.armed.wants(
        order.kind, len(registry.runs)
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


def is_armed(order: Order) -> bool | None:
    """Whether the cell a run would get is ready; None if there is none."""
    return zygotes.registry().armed.is_ready(order.kind)


def expect(order: Order) -> None:
    """Have a run of this kind leave a cell armed, however rare it is."""
    zygotes.registry().armed.expect(order.kind)


def keep_successor(order: Order, zygote: Zygote, run: Run) -> None:
    """Let the cell wait that was armed during a run, if there is one."""
    registry = zygotes.registry()
    successor = zygotes.adopt_successor(run)
    if successor is None:
        pass
    elif registry.keeps(zygote):
        registry.armed.put(order.kind, zygote, successor)
    else:  # it leaves
        successor.close()
    zygotes.tend()
    if not order.parts and not registry.keeps(zygote):
        _arm_heir(order)


def _arm_heir(order: Order) -> None:
    """Have a cell ready in the zygote that has come in another's place."""
    registry = zygotes.registry()
    zygote = registry.zygotes.get(order.template)
    # What is required is looked at by the run that asks.
    if zygote is None or order.policy.require:
        return
    if not wants_successor(order):
        return
    try:
        run = zygotes._request(zygote, order.policy, template=order.template)
    except (OSError, _csandbox.SetupError):
        return  # the next run asks
    registry.armed.put(order.kind, zygote, run)
