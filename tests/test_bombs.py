"""Every bomb of tests/bombs.py is ended by a limit that is meant for it, and
costs the host next to nothing."""

import resource
import time

import pytest

import bombs
import csandbox

MIB = 1 << 20
# Of the default policy, with what a look comes too late for: the memory that
# two processors fill in the 2 ms between two looks, and some.
MOST_HELD = (512 + 96) * MIB


def resident():
    """Return the bytes that this process has resident."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@pytest.mark.parametrize(
    "bomb", bombs.BOMBS, ids=[bomb.name for bomb in bombs.BOMBS]
)
def test_P06_P07_a_bomb_is_ended_by_its_limit(bomb):
    csandbox.run("0")
    before, used = resident(), time.process_time()
    result = csandbox.execute(bomb.source, **bomb.policy)
    used = time.process_time() - used
    assert result.error is not None, result.value
    assert bombs.end_of(result.error) in bomb.ends, str(result.error)
    usage = result.usage
    # Several processes take longer to look at.
    several = 256 * MIB if bomb.policy.get("processes") else 0
    assert usage.peak_memory < MOST_HELD + several
    assert usage.scratch_bytes < 64 * MIB + 16384 * 1024 + MIB
    # Output is kept up to its cap, and a late ending is told in tens of
    # milliseconds, on a busy machine too.
    assert resident() - before < 8 * MIB
    assert used < 0.5
    timeout = bomb.policy["timeout"]
    assert usage.run < timeout + 2
    if isinstance(result.error, csandbox.TimeLimitError):
        assert usage.run >= timeout * 0.2
