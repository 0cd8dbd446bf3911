"""csandbox where it is called from: the environments that take no container.

Those that do, and the escape suite in all of them, are a stage of .ci/run.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import support

RUN = Path(__file__).parent / "environments" / "run"
sys.path.insert(0, str(RUN.parent))
import presets  # noqa: E402

BECOME_USERS = {presets.steps.ordinary_user, presets.steps.unknown_user}
NAMES = [
    name
    for name, environment in presets.ENVIRONMENTS.items()
    if not environment.container
]


def can_be_made(name):
    """Whether this user can make it, and its user could reach csandbox."""
    environment = presets.ENVIRONMENTS[name]
    if os.getuid():
        return not environment.root
    becomes = BECOME_USERS.intersection(environment.steps)
    return not (becomes and support.environment_is_closed())


@pytest.mark.parametrize("name", [*filter(can_be_made, NAMES)])
def test_finds_its_tier_and_works_in(name, tmp_path):
    log = tmp_path / "log"
    ended = subprocess.run(
        [sys.executable, RUN, name, "--smoke"],
        env={**os.environ, "CSANDBOX_SMOKE_LOG": str(log)},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr or log.read_text()


def test_every_tier_has_environments_and_attacks():
    tiers = {each.tier for each in presets.ENVIRONMENTS.values()}
    assert tiers == set(presets.ESCAPES)
    for pattern in presets.ESCAPES.values():
        assert list(Path(__file__).parent.glob(pattern)), pattern
