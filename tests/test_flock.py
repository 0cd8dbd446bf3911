"""Objects that are known as long as they live, in steps of C."""

import _thread
import threading
import weakref

import pytest

from csandbox.flock import Flock


class Thing:
    pass


class Interrupting:
    """Has Ctrl-C come as it dies: just before its references are told."""

    __del__ = _thread.interrupt_main


def filled(count):
    flock, things = Flock(), [Thing() for _ in range(count)]
    for thing in things:
        flock.add(thing)
    return flock, things


def test_things_are_known_as_long_as_they_live():
    flock, things = filled(3)
    flock.add(things[0])
    assert len(flock) == 3
    assert {*flock} == {*things}
    del things[1:]
    assert (len(flock), [*flock]) == (1, things)


def test_a_thing_is_not_kept_alive_by_being_known():
    flock, (thing,) = filled(1)
    gone = weakref.ref(thing)
    del thing
    assert (gone(), [*flock]) == (None, [])


def test_those_that_come_and_go_do_not_disturb_who_looks_at_all():
    flock, things = filled(3)
    seen, others = 0, []
    for thing in flock:
        others.append(Thing())
        flock.add(others[-1])
        things.clear()
        del thing
        seen += 1
    assert (seen, {*flock}) == (3, {*others})


def lose_one(known):
    """Have Ctrl-C come as the only thing of a set of such goes."""
    thing = Interrupting()
    known.add(thing)
    del thing
    for _ in range(10):  # here at the latest
        pass


def test_an_exception_of_a_signal_handler_is_not_lost_as_a_thing_goes():
    assert threading.current_thread() is threading.main_thread()
    flock = Flock()
    with pytest.raises(KeyboardInterrupt):
        lose_one(flock)
    assert len(flock) == 0
