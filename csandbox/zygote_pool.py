"""Which zygotes are kept, and for how long.

One is kept per template, and MOST of them: another takes the place of that
whose last run began longest ago, so that thousands of tenants, each with
packages of its own, leave a bounded number of processes.  One that has had no
run for long is ended; one that is old, or has had many runs, is replaced by
an heir that starts meanwhile, so that no guest can use for long what another
has found out of its zygote's addresses and hashes.

Who uses a zygote has a reference to it.  One that is not kept any more gets
no new run, and ends with the last of its references: that is, of its runs.

Nothing here has a thread: it is done by runs, as they end.
"""

from __future__ import annotations

from time import monotonic

from csandbox import _csandbox
from csandbox.armed import Armed
from csandbox.errors import UnavailableError
from csandbox.flock import Flock
from csandbox.light import RLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from csandbox._csandbox import Zygote
    from csandbox.zygotes import Template

MOST = 16  # each has some 12 MB of its own, with pandas 60
IDLE_SECONDS = 600.0
# The start of another takes the time of some 20 runs, with pandas of 500: so
# that is a twentieth of what the runs take at the most.
RUNS = 10_000
AGE_SECONDS = 3600.0
LOOK_SECONDS = 1.0  # between two looks
HEIR_SECONDS = 0.005  # ... while an heir starts
SETTLE_SECONDS = 0.5  # for it to import, once ready, what it does when idle
RETRY_SECONDS = 60.0  # after an heir that could not start


class Registry:
    """The zygotes of this process, and what runs in them."""

    # Reentrant locks: a signal handler may run something too.
    def __init__(self, most: int = MOST) -> None:
        self.lock = RLock()
        self.starting: dict[Template, RLock] = {}
        self.zygotes: dict[Template, Zygote] = {}
        self.booting: set[Zygote] = set()
        self.heirs: dict[Template, Zygote] = {}
        # Weak, so that one which an exception made homeless is closed.
        self.leaving = Flock()  # Zygotes
        self.runs = Flock()
        self.inputs = Flock()
        self.armed = Armed()
        self.most = most
        self._look = 0.0
        self._no_heir_until = 0.0

    def keep(self, template: Template, zygote: Zygote) -> Zygote:
        """Keep a zygote that was started, and return that of its template."""
        with self.lock:
            # A signal handler may have started one meanwhile.
            kept = self.zygotes.setdefault(template, zygote)
            self.starting.pop(template, None)
        self.trim()
        return kept

    def holds(self, template: Template, zygote: Zygote) -> bool:
        """Whether a zygote is kept."""
        return self.zygotes.get(template) is zygote

    def keeps(self, zygote: Zygote) -> bool:
        """Whether a zygote is kept, of whatever template."""
        return zygote in self.zygotes.values()

    def trim(self) -> None:
        """Let go of those that are too many."""
        while len(self.zygotes) > self.most:
            with self.lock:
                oldest = min(
                    list(self.zygotes.items()),  # a signal handler may add
                    key=lambda item: item[1].used,
                    default=None,
                )
            if oldest is not None:
                self.release(*oldest)
                del oldest  # or it would live until there is another

    def release(
        self, template: Template, zygote: Zygote, heir: Zygote | None = None
    ) -> None:
        """Give a zygote no run any more; it ends with those that it has."""
        with self.lock:
            if not self.holds(template, zygote):
                return
            self.leaving.add(zygote)
            if heir is None:
                del self.zygotes[template]
            else:
                self.zygotes[template] = heir
        self.armed.forget(zygote)

    def tend(self, start_heir: Callable[[Template], None]) -> None:
        """Look after those that are idle, old or worn, from time to time.

        `start_heir` adds to `heirs` a zygote that will be ready some time.
        """
        if monotonic() < self._look:
            return
        with self.lock:
            now = monotonic()
            if now < self._look:
                return
            self._look = now + LOOK_SECONDS
            for template, zygote in list(self.zygotes.items()):
                self._tend(template, zygote, now, start_heir)
            if self.heirs:
                self._look = min(self._look, now + HEIR_SECONDS)
        self.armed.sweep()

    def _tend(
        self,
        template: Template,
        zygote: Zygote,
        now: float,
        start_heir: Callable[[Template], None],
    ) -> None:
        if now - zygote.used > IDLE_SECONDS:
            self.release(template, zygote)
        elif zygote.runs >= RUNS or now - zygote.born >= AGE_SECONDS:
            try:
                self._replace(template, zygote, now, start_heir)
            except (UnavailableError, _csandbox.SetupError):
                self._give_up_heir(template, now)

    def _replace(
        self,
        template: Template,
        zygote: Zygote,
        now: float,
        start_heir: Callable[[Template], None],
    ) -> None:
        heir = self.heirs.get(template)
        if heir is None:
            if now >= self._no_heir_until:
                start_heir(template)
        elif not heir.alive:  # killed, or a signal handler raised
            self._give_up_heir(template, now)
        elif heir is zygote:  # it raised when it was in place already
            del self.heirs[template]
        elif heir.advance() and now - heir.born > SETTLE_SECONDS:
            self.release(template, zygote, heir)
            del self.heirs[template]

    def _give_up_heir(self, template: Template, now: float) -> None:
        self.heirs.pop(template, None)
        self._no_heir_until = now + RETRY_SECONDS

    def close(self) -> None:
        """End all zygotes, and every run of them."""
        self.armed.close()
        for zygote in self._all():
            zygote.close()

    def leave(self) -> None:
        """As close(), at exit, without awaiting their ends."""
        for zygote in [*self.booting, *self._all()]:
            zygote.leave()
        self.armed.close()

    def _all(self) -> list[Zygote]:
        heirs, self.heirs = self.heirs, {}
        zygotes, self.zygotes = self.zygotes, {}
        return [*heirs.values(), *zygotes.values(), *self.leaving]
