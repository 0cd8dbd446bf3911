"""What cells find done by their zygote, when it has had the time for it."""

import pytest

import csandbox
import hosts
from csandbox import zygotes

# Of the source of a run: whether its cell is of a zygote that is ready.
IS_READY = "import sys; 'cloudpickle' in sys.modules"


def value_when_ready(source, **options):
    """Return the result of a run in a cell of a zygote that is ready."""
    for _ in range(1000):
        zygotes.disarm()
        result = csandbox.execute(f"{source}\n{IS_READY}", **options)
        if result.unwrap():
            return result
    pytest.fail("it never is")


def test_the_main_thread_has_the_number_that_it_has_in_a_cell():
    """Python asks for it once, in the zygote."""
    source = """
import threading
print(threading.main_thread().native_id, threading.get_native_id())
"""
    csandbox.warm()
    assert value_when_ready(source).stdout == "2 2\n"


def test_exit_functions_of_a_package_are_called_as_the_program_ends():
    """And not as the zygote tries ahead what cells do: they are for once."""
    source = """
from multiprocessing import util
util.Finalize(None, print, args=("at its end",), exitpriority=1)
"""
    options = {"preload": ("multiprocessing.util",)}
    for _ in range(2):
        assert value_when_ready(source, **options).stdout == "at its end\n"
    csandbox.warm(**options)
    assert csandbox.execute(source, **options).stdout == "at its end\n"


def test_a_zygote_that_is_never_idle_gets_ready_all_the_same():
    """It is stopped until more is asked of it than it would get ready for."""
    found = hosts.run(f"""
import os, signal, threading
import csandbox, hosts
from csandbox import zygotes
RUNS = 30
csandbox.set_capacity(RUNS)
values = []
def work():
    values.append(csandbox.run({IS_READY!r}, timeout=60))
def ready():
    "Whether runs that were asked for without a pause found it ready."
    zygotes.shutdown()
    zygote = zygotes.booted(zygotes.Template())
    os.kill(zygote.pid, signal.SIGSTOP)
    values.clear()
    threads = [threading.Thread(target=work) for _ in range(RUNS)]
    for thread in threads: thread.start()
    hosts.wait_until(lambda: len(zygotes._registry.runs) == RUNS)
    os.kill(zygote.pid, signal.SIGCONT)
    for thread in threads: thread.join()
    return sorted(set(values))
csandbox.run("1")  # which finds out the tier
# On a busy machine it may have had a pause before it was stopped.
while (found := ready()) == [True]: pass
hosts.show(found)
""")
    assert found == [False, True]
