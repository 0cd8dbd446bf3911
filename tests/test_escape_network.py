"""The guest has no network, and no socket but a pair of its own."""

import socket

import pytest

import support
from support import LANDLOCK, NETNS, SECCOMP, VIEW, Attack

CONNECT_TCP = Attack(
    """
import socket
with socket.create_connection(('127.0.0.1', port), timeout=5) as connection:
    peer = connection.getpeername()
peer
""",
    NETNS,
    LANDLOCK,
    SECCOMP,
)
SEND_UDP = Attack(
    """
import socket
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(
    b'out', ('127.0.0.1', udp_port)
)
""",
    NETNS,
    SECCOMP,
)
CONNECT_ABSTRACT = Attack(
    """
import socket
socket.socket(socket.AF_UNIX).connect('\\0' + abstract) is None
""",
    NETNS,
    LANDLOCK,
    SECCOMP,
)
CONNECT_PATH = Attack(
    """
import socket
socket.socket(socket.AF_UNIX).connect(path) is None
""",
    VIEW,
    SECCOMP,
)
READ_ADDRESS = Attack(  # of the network card, by ioctl
    """
import socket
asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
request = ctypes.create_string_buffer(interface.encode(), 40)
syscall('ioctl', asker.fileno(), 0x8927, request)
True
""",
    NETNS,
    SECCOMP,
)
ESCAPES = {
    "connect to the host": CONNECT_TCP,
    "send a datagram": SEND_UDP,
    "connect to an abstract socket": CONNECT_ABSTRACT,
    "connect to a socket file": CONNECT_PATH,
}


def test_cannot_connect_to_the_host(outside):
    CONNECT_TCP.check(outside.inputs())


def test_cannot_send_a_datagram(outside):
    with pytest.raises(BlockingIOError):
        outside.udp.recv(10)
    SEND_UDP.check(outside.inputs())
    assert outside.udp.recv(10) == b"out"  # the one without layers
    with pytest.raises(BlockingIOError):
        outside.udp.recv(10)


def test_cannot_connect_to_an_abstract_socket(outside):
    CONNECT_ABSTRACT.check(outside.inputs())


def test_cannot_connect_to_a_socket_file(outside):
    CONNECT_PATH.check(outside.inputs())


def test_cannot_read_the_address_of_a_network_card():
    others = [name for _, name in socket.if_nameindex() if name != "lo"]
    if not others:
        pytest.skip("this machine has no network card")
    READ_ADDRESS.check({"interface": others[0]})


# Every family and type there is, and the known ones also with bits that the
# kernel ignores: a few hundred, as the host answers each.
TYPES = """
KNOWN = (1, 2, 10, 16, 17, 38)
def tries(bits):
    for family in range(64):
        for kind in range(1, 7):
            yield family, kind, 0, 0
    for family in KNOWN:
        for kind in (1, 2, 3, 5):
            for high in (1 << 32, 0xdead << 32, 1 << 63):
                for extra in bits:
                    yield family, kind, high, extra
"""
MAKE_SOCKETS = (
    TYPES
    + """
made, answers = [], set()
for family, kind, high, extra in tries((0, 0o4000, 0o2000000)):
    result = answer('socket', family | high, kind | extra | high, 0)
    if isinstance(result, int):
        os.close(result)
        made.append((family, kind))
    else:
        answers.add(result)
sorted(set(made)), sorted(answers)
"""
)


def test_cannot_make_a_socket_of_any_family():
    made, _ = support.value_of(MAKE_SOCKETS, without={SECCOMP})
    assert {socket.AF_UNIX, socket.AF_INET, socket.AF_NETLINK} <= {
        family for family, _ in made
    }
    made, answers = support.value_of(MAKE_SOCKETS)
    assert (made, answers) == ([], ["EACCES"])


def test_cannot_make_a_socket_with_high_bits_in_the_number():
    # rax is 64 bits wide; the kernel and the filter both read 32 of them.
    source = "answer(NR['socket'] | 1 << 32, 1, 1, 0)"
    assert isinstance(support.value_of(source, without={SECCOMP}), int)
    assert support.value_of(source) == "EACCES"


PAIRS = (
    TYPES
    + """
made = set()
pair = ctypes.create_string_buffer(8)
for family, kind, high, protocol in tries((0, 1, 6, 17, 1 << 32)):
    result = answer('socketpair', family | high, kind | high, protocol, pair)
    if result == 0:
        made.add((family, kind))
        for each in struct.unpack('2i', pair):
            os.close(each)
sorted(made)
"""
)


def test_only_a_pair_of_unix_streams_can_be_made():
    more = support.value_of(PAIRS, without={SECCOMP})
    assert (socket.AF_UNIX, socket.SOCK_DGRAM) in more
    only = [(socket.AF_UNIX, socket.SOCK_STREAM)]
    assert support.value_of(PAIRS) == only


USE_A_PAIR = """
import array, socket
one, two = socket.socketpair()
answers = {}
def attempt(name, function):
    try:
        answers[name] = function() is not None
    except OSError as error:
        answers[name] = errno.errorcode[error.errno]
rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [1]))]
attempt('send', lambda: one.send(b'x'))
attempt('recv', lambda: two.recv(1))
attempt('to', lambda: one.sendto(b'x', '\\0somewhere'))
attempt('rights', lambda: one.sendmsg([b'x'], rights))
attempt('recvmsg', lambda: two.recvmsg(1, 100, socket.MSG_DONTWAIT))
attempt('connect', lambda: one.connect('\\0somewhere'))
attempt('bind', lambda: one.bind('\\0somewhere'))
attempt('listen', lambda: one.listen())
attempt('accept', lambda: one.accept())
answers
"""


def test_a_pair_carries_bytes_and_nothing_else():
    without = support.value_of(USE_A_PAIR, without={SECCOMP})
    assert without["rights"] is True  # descriptors, for one
    assert support.value_of(USE_A_PAIR) == {
        "send": True,
        "recv": True,
        "to": "EACCES",
        "rights": "EPERM",
        "recvmsg": "EPERM",
        "connect": "EACCES",
        "bind": "EACCES",
        "listen": "EACCES",
        "accept": "EACCES",
    }


def test_asyncio_works_without_a_network():
    source = """
import asyncio
async def main():
    return sum(await asyncio.gather(*(asyncio.sleep(0, n) for n in (1, 2))))
asyncio.run(main())
"""
    assert support.value_of(source) == 3
