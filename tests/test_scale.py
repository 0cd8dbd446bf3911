"""Which zygotes are kept, when they are ended, and in whose place others come.

Each test is a program of its own, as what is looked at is of a whole process.
"""

from unittest import mock

import pytest

import csandbox
import hosts
from csandbox import policy, terms, zygotes
from csandbox.errors import PolicyError

MODULES = (
    "json csv re string textwrap bisect heapq queue uuid base64 hashlib hmac "
    "zlib gzip bz2 lzma calendar enum pprint copy"
)

PRELUDE = f"""
import os, sys, threading, time
import csandbox, hosts
from csandbox import zygote_pool, zygotes
zygote_pool.SETTLE_SECONDS = 0.0
MODULES = {MODULES!r}.split()
SECRETS = "hash('a'), id(len)"  # of its seed, and its addresses
def kept():
    "Pids by what is preloaded."
    return {{"".join(each.preload): zygote.pid
            for each, zygote in zygotes._registry.zygotes.items()}}
def living():
    return sorted(hosts.zygotes(os.getpid()))
def settled():
    "Wait until only those live that are kept."
    zygotes.disarm()
    wanted = sorted(kept().values())
    hosts.wait_until(lambda: living() == wanted)
    return len(wanted)
def use(module, source="1", **more):
    return csandbox.run(source, preload=(module,) if module else (), **more)
"""


def program(source, *args, **options):
    return hosts.run(PRELUDE + source, *args, **options)


# --- who shares one ----------------------------------------------------------


def test_policies_that_differ_only_in_limits_share_a_zygote():
    found = program("""
for i in range(40):
    use("", timeout=5 + i, memory=(100 + i) << 20, threads=i, output=2000 + i,
        result=10000 + i, scratch=1 << 20 | i, env={"A": str(i)},
        inputs={"a": i}, stdin="x", cpu_time=3.0 + i)
hosts.show([settled(), len(zygotes._registry.starting)])
""")
    assert found == [1, 0]


def test_policies_that_differ_in_what_is_imported_do_not():
    found = program("""
use("json"), use("csv"), use("")
hosts.show([settled(), sorted(kept())])
""")
    assert found == [3, ["", "csv", "json"]]


def test_limits_ask_for_few_different_numbers_of_threads():
    """Which a library is given as it is imported, by its environment."""
    with (
        mock.patch.object(policy, "cores", lambda: 64),
        mock.patch.object(terms, "cores", lambda: 64),
    ):
        policies = [
            csandbox.Policy(preload=("numpy",), threads=threads, memory="64G")
            for threads in range(100)
        ]
        templates = {terms.terms_of(each).template for each in policies}
    assert {each.threads for each in templates} == {0, 1, 2, 4, 8, 16, 32}


# --- how many ----------------------------------------------------------------


def test_policies_that_differ_in_what_guests_are_told_are_not_kept():
    """Their env may be secrets of those for whom the runs were."""
    found = program("""
import gc
from csandbox import Policy, terms
terms.MOST = 8
def more():
    gc.collect()
    return sum(type(each) is Policy for each in gc.get_objects()) - before
before = 0
csandbox.run("1", env={"A": "b"})
before = more()
for i in range(40): csandbox.run("1", env={"A": str(i)})
after_env = more()
for i in range(40): csandbox.run("1", policy=Policy(env={"A": str(i)}))
after_policies = more()
for i in range(40):
    csandbox.run("1", policy=Policy(env={"A": str(i)}), timeout=5 + i)
hosts.show([after_env, after_policies, more() <= 2 * terms.MOST,
            len(terms._numbers) <= terms.MOST])
""")
    assert found == [0, 0, True, True]


def test_processes_and_descriptors_are_bounded_however_many_policies():
    found = program("""
csandbox.set_capacity(zygotes=3)
seen = []
for round in range(2):
    for module in MODULES:
        assert use(module) == 1
        seen.append(len(kept()))
    zygotes.disarm()
    seen.append(hosts.steady_counts())
hosts.show([max(seen[:20]), seen[20] == seen[41], settled(),
            len(zygotes._registry.starting), len(zygotes._registry.leaving)])
""")
    assert found == [3, True, 3, 0, 0]


def test_the_least_recently_used_makes_room():
    found = program("""
csandbox.set_capacity(zygotes=2)
use("json"), use("csv"), use("json"), use("re")
before = kept()
use("re"), use("json")  # from a cell that waited
use("csv")
hosts.show([sorted(before), sorted(kept()), settled(),
            before["json"] == kept()["json"]])
""")
    assert found == [["json", "re"], ["csv", "json"], 2, True]


def test_one_that_makes_room_ends_its_runs_first():
    found = program("""
csandbox.set_capacity(zygotes=1)
values = []
thread = threading.Thread(target=lambda: values.append(
    use("json", "import time; time.sleep(1.5); 'whole'")))
thread.start()
hosts.wait_until(lambda: csandbox.capacity().alive == 1 and kept())
old = kept()["json"]
use("csv")
between = [old in living(), sorted(kept())]
thread.join()
hosts.show([values, between, settled(), old in living()])
""")
    assert found == [["whole"], [True, ["csv"]], 1, False]


def test_a_burst_of_more_than_are_kept_goes_over_and_comes_back():
    found = program("""
csandbox.set_capacity(100, zygotes=2)
values = []
start = threading.Barrier(8)
def work(module):
    start.wait()
    for _ in range(3):
        values.append(use(module, "import time; time.sleep(0.2); 7"))
threads = [threading.Thread(target=work, args=(module,))
           for module in MODULES[:8]]
for thread in threads: thread.start()
most = 0
while any(thread.is_alive() for thread in threads):
    most = max(most, len(living()))
    assert len(kept()) <= 3
    time.sleep(0.01)
hosts.show([values == [7] * 24, most > 2, len(kept()), settled()])
""")
    assert found == [True, True, 2, 2]


def test_fewer_may_be_kept_from_now_on():
    found = program("""
for module in MODULES[:4]: use(module)
before = settled()
csandbox.set_capacity(zygotes=2)
hosts.show([before, settled(), csandbox.capacity().zygotes, sorted(kept())])
""")
    assert found == [4, 2, 2, sorted(MODULES.split()[2:4])]


def test_a_fork_keeps_as_many_as_its_parent():
    found = program("""
csandbox.set_capacity(zygotes=5)
if os.fork() == 0:
    use("json")
    os._exit(csandbox.capacity().zygotes)
hosts.show(os.waitstatus_to_exitcode(os.wait()[1]))
""")
    assert found == 5


@pytest.mark.parametrize("bad", [0, -1, 1.0, "4", True, 10**9])
def test_a_count_of_zygotes_is_checked(bad):
    with pytest.raises(PolicyError, match="zygotes must be"):
        csandbox.set_capacity(zygotes=bad)
    assert csandbox.capacity().zygotes == 16


# --- for how long ------------------------------------------------------------


def test_hash_seed_and_addresses_change_after_many_runs():
    found = program("""
zygote_pool.RUNS = 30
zygote_pool.LOOK_SECONDS = 0.0
secrets = []
for i in range(400):
    secrets.append(csandbox.run(SECRETS))
    if len(set(secrets)) == 3: break
hashes, addresses = ({each[i] for each in secrets} for i in range(2))
hosts.show([len(hashes), len(addresses), settled(),
            len(zygotes._registry.heirs) <= 1])
""")
    assert found == [3, 3, 1, True]


def test_a_cell_of_an_heir_waits_as_it_takes_over():
    found = program("""
zygote_pool.RUNS = 20
zygote_pool.LOOK_SECONDS = 0.0
csandbox.run("1")
before, end = kept(), time.monotonic() + 30
while kept() == before and time.monotonic() < end: csandbox.run("1")
waiting, zygotes._request = len(zygotes._registry.armed), None
hosts.show([kept() != before, waiting, csandbox.run("5")])
""")
    assert found == [True, 1, 5]


def test_hash_seed_and_addresses_change_after_a_time():
    found = program("""
first = csandbox.run(SECRETS)
again = csandbox.run(SECRETS)
zygote_pool.AGE_SECONDS = 0.5
end = time.monotonic() + 30
while (other := csandbox.run(SECRETS)) == first and time.monotonic() < end:
    time.sleep(0.01)
hosts.show([first == again, *(a == b for a, b in zip(first, other))])
""")
    assert found == [True, False, False]


def test_runs_in_threads_go_on_while_zygotes_are_replaced():
    found = program("""
zygote_pool.RUNS = 15
zygote_pool.LOOK_SECONDS = 0.0
seeds, wrong = set(), []
def work(number):
    for i in range(60):
        try:
            source = f"import time; time.sleep({i % 3} / 500); hash('a')"
            seeds.add(csandbox.run(source))
        except BaseException as error:
            wrong.append(repr(error))
threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
heirs = len(zygotes._registry.heirs)
zygotes._registry.heirs.clear()
hosts.show([wrong, len(seeds) > 3, heirs <= 1, settled()])
""")
    assert found == [[], True, True, 1]


def test_an_heir_that_cannot_start_leaves_the_old_one():
    found = program("""
csandbox.run("1")
before, real, sys.executable = kept(), sys.executable, "/bin/false"
zygote_pool.RUNS = 1
zygote_pool.LOOK_SECONDS = 0.0
tried = 0
while zygotes._registry._no_heir_until < time.monotonic() + 30:
    csandbox.run("1")
    tried += 1
    assert tried < 500
sys.executable = real
hosts.show([csandbox.run("2"), before == kept(), settled()])
""")
    assert found == [2, True, 1]


def test_one_that_nobody_uses_is_ended_by_the_runs_of_others():
    found = program("""
use("json")
zygote_pool.IDLE_SECONDS = 0.6
end = time.monotonic() + 20
while "json" in kept() and time.monotonic() < end:
    time.sleep(0.05)
    use("csv")
zygote_pool.IDLE_SECONDS = 600
use("csv")
found = [sorted(kept()), settled()]
hosts.show([*found, use("json", "'again'")])
""")
    assert found == [["csv"], 1, "again"]


# --- what may come between ---------------------------------------------------


def test_fork_of_the_host_while_an_heir_starts():
    found = program("""
zygote_pool.RUNS = 1
zygote_pool.LOOK_SECONDS = 0.0
codes = []
for i in range(6):
    csandbox.run("1")
    pid = os.fork()
    if pid == 0:
        inherited = len(living()), len(zygotes._registry.heirs)
        ok = csandbox.run("5") == 5 and inherited == (0, 0)
        os._exit(0 if ok else 1)
    codes.append(os.waitpid(pid, 0)[1])
zygote_pool.RUNS = 10**9
hosts.show([codes, csandbox.run("6")])
""")
    assert found == [[0] * 6, 6]


def test_the_interpreter_ends_while_an_heir_starts():
    found = program("""
zygote_pool.RUNS = 1
zygote_pool.LOOK_SECONDS = 0.0
for _ in range(3): csandbox.run("1")
while not zygotes._registry.heirs: csandbox.run("1")
hosts.show(len(zygotes._registry.heirs))
""")
    assert found == 1  # and nothing was left, or this would have failed


def test_ctrl_c_at_any_moment_of_a_replacement_leaks_nothing():
    found = program(
        """
import random, signal
csandbox.run("1")
zygotes.disarm()
before = hosts.steady_counts()
zygote_pool.RUNS = 1
zygote_pool.LOOK_SECONDS = 0.0
random.seed(4)
hit = 0
for i in range(120):
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.001, 0.03))
        while True: csandbox.run("1")
    except KeyboardInterrupt:
        hit += 1
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
zygote_pool.RUNS = 10**9
heirs, zygotes._registry.heirs = zygotes._registry.heirs, {}
del heirs
value = csandbox.run("9")
zygotes.disarm()
after = hosts.settled_counts(before)
hosts.show([hit, value, after == before or [before, after], settled(),
            len(zygotes._registry.booting), len(zygotes._registry.leaving)])
""",
        seconds=120.0,
    )
    assert found == [120, 9, True, 1, 0, 0]


def test_ctrl_c_while_others_make_room_leaks_nothing():
    found = program(
        """
import random, signal
csandbox.set_capacity(zygotes=1)
use("json")
zygotes.disarm()
before = hosts.steady_counts()
random.seed(5)
hit = 0
for i in range(60):
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.001, 0.15))
        while True:
            for module in MODULES: use(module)
    except KeyboardInterrupt:
        hit += 1
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
value = use("json", "9")
zygotes.disarm()
after = hosts.settled_counts(before)
hosts.show([hit, value, after == before or [before, after], settled(),
            len(zygotes._registry.booting), len(zygotes._registry.leaving)])
""",
        seconds=120.0,
    )
    assert found == [60, 9, True, 1, 0, 0]


def test_one_that_was_let_go_of_is_no_run_s_to_lose():
    """It may be let go of between a run's look for it and its request."""
    found = program("""
csandbox.set_capacity(zygotes=1)
real = zygotes._request
def request(zygote, *args, **kwargs):
    others = [each for each in MODULES if each not in kept()]
    zygotes._request = real
    use(others[0])
    zygotes._request = request
    return real(zygote, *args, **kwargs)
zygotes._request = request
values = [use(module, "7") for module in MODULES[:5]]
zygotes._request = real
hosts.show([values, settled()])
""")
    assert found == [[7] * 5, 1]


def test_a_template_says_all_that_a_zygote_of_its_own_is_for():
    assert set(zygotes.Template._fields) == {
        *("preload", "several", "threads", "compute", "user"),
        *("mechanisms", "fault"),
    }
