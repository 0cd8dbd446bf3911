"""The guest reads, writes, lists and measures nothing outside its view."""

import os
import subprocess
import sys

import pytest

import csandbox
import support
from support import LANDLOCK, USERNS, VIEW, Attack

READ_PASSWD = Attack("open('/etc/passwd').read()", VIEW, LANDLOCK)
READ_PROJECT = Attack("open(secret).read()", VIEW, LANDLOCK)
READ_SSH_KEY = Attack("open(key).read()", VIEW, LANDLOCK)
LIST_ETC = Attack("'passwd' in os.listdir('/etc')", VIEW, LANDLOCK)
LIST_HOME = Attack(
    "os.listdir(os.path.dirname(os.path.dirname(key)))", VIEW, LANDLOCK
)
READ_PROC = Attack("open(f'/proc/{host_pid}/cmdline').read()", VIEW, LANDLOCK)
LIST_PROC = Attack("'1' in os.listdir('/proc')", VIEW, LANDLOCK)
LIST_SYS = Attack("os.listdir('/sys/class/net')", VIEW, LANDLOCK)
FOLLOW_SYMLINK = Attack(
    """
os.symlink('../etc/passwd', '/tmp/link')
open('/tmp/link').read()
""",
    VIEW,
    LANDLOCK,
)
CLIMB = Attack(
    """
root = os.open('/', os.O_PATH)
file = os.open('../../tmp/../etc/passwd', os.O_RDONLY, dir_fd=root)
os.read(file, 10)
""",
    VIEW,
    LANDLOCK,
)
CREATE = Attack(
    """
with open(drop + '/planted', 'w') as file:
    file.write('x')
os.unlink(drop + '/planted')
True
""",
    VIEW,
    LANDLOCK,
)
OVERWRITE = Attack(
    "os.close(os.open(shared, os.O_WRONLY)) is None", VIEW, LANDLOCK
)
TRUNCATE = Attack("os.truncate(shared, 8) is None", VIEW, LANDLOCK)
MAKE_DIRECTORY = Attack(
    """
os.mkdir(drop + '/made')
os.rmdir(drop + '/made')
True
""",
    VIEW,
    LANDLOCK,
)
HARD_LINK = Attack(
    """
os.link(shared, drop + '/link')
os.unlink(drop + '/link')
True
""",
    VIEW,
    LANDLOCK,
)
# Landlock knows no right to look at a file's attributes or to change them:
# here the mount namespace stands alone.
MEASURE = Attack("os.stat('/etc/passwd').st_size", VIEW)
CHANGE_MODE = Attack("os.chmod(owned, 0o640) is None", VIEW)
CHANGE_TIME = Attack("os.utime(owned, (1, 1)) is None", VIEW)

ESCAPES = {
    "read /etc/passwd": READ_PASSWD,
    "read the project": READ_PROJECT,
    "read an ssh key": READ_SSH_KEY,
    "list /etc": LIST_ETC,
    "list the home": LIST_HOME,
    "read /proc of the host": READ_PROC,
    "list /proc": LIST_PROC,
    "list /sys": LIST_SYS,
    "follow a symlink": FOLLOW_SYMLINK,
    "climb out with ..": CLIMB,
    "create a file": CREATE,
    "overwrite a file": OVERWRITE,
    "truncate a file": TRUNCATE,
    "make a directory": MAKE_DIRECTORY,
    "make a hard link": HARD_LINK,
}


def test_cannot_read_etc_passwd():
    READ_PASSWD.check()


def test_cannot_read_etc_shadow():
    # The guest's user could not even without any layer, so the program is
    # shown to work outside, as far as the host itself may.
    source = "open('/etc/shadow').read(1)"
    try:
        assert eval(source)
    except PermissionError:
        assert os.geteuid() != 0
    attack = Attack(source)
    for without in [(), *({each} for each in support.OPTIONAL)]:
        assert not attack.succeeds(None, without)


def test_cannot_read_the_callers_project(outside):
    READ_PROJECT.check(outside.inputs())


def test_cannot_read_the_callers_ssh_key(outside):
    READ_SSH_KEY.check(outside.inputs())


def test_cannot_read_the_callers_directory(outside, monkeypatch):
    monkeypatch.chdir(outside.secret.parent)
    source = "open('settings.py').read()"
    assert eval(source)
    for without in ((), {VIEW}, {LANDLOCK}, {VIEW, LANDLOCK}):
        # Whatever else may be missing: the cell's directory is its own.
        assert not Attack(source).succeeds(None, without)
    assert support.value_of("os.getcwd()") == "/tmp"


def test_cannot_list_host_directories(outside):
    LIST_ETC.check()
    LIST_HOME.check(outside.inputs())


def test_cannot_read_proc_of_anything(outside):
    READ_PROC.check(outside.inputs())
    LIST_PROC.check()
    for name in ("self/status", "self/environ", "1/cmdline", "version"):
        assert not os.path.exists("/proc") or not Attack(
            f"open('/proc/{name}').read()"
        ).succeeds(None, ())


def test_cannot_list_sys():
    LIST_SYS.check()


def test_cannot_leave_by_links_or_dots():
    FOLLOW_SYMLINK.check()
    CLIMB.check()


def test_cannot_create_overwrite_or_truncate_host_files(outside):
    for attack in (CREATE, OVERWRITE, TRUNCATE, MAKE_DIRECTORY, HARD_LINK):
        attack.check(outside.inputs())
    assert sorted(os.listdir(outside.drop)) == ["shared.txt", "socket"]
    assert outside.shared.read_text() == "precious"


@pytest.fixture
def owned(outside):
    """Return the inputs with a file that the guest's user owns."""
    path = outside.root / "owned"
    path.write_text("")
    without = set(CHANGE_MODE.layers)
    if os.geteuid() == 0:
        os.chown(path, support.guest_uid(without), -1)
    yield {**outside.inputs(), "owned": str(path)}
    path.unlink()


def test_cannot_measure_host_files():
    MEASURE.check()


def test_cannot_change_attributes_of_host_files(owned):
    CHANGE_MODE.check(owned)
    CHANGE_TIME.check(owned)


def test_S02_no_file_of_the_host_is_created_or_changed(outside):
    before = [
        (entry.name, entry.stat().st_mtime_ns, entry.stat().st_size)
        for entry in os.scandir(outside.drop)
    ]
    source = """
done = []
for attempt in (
    lambda: open(shared, 'w').write('x'),
    lambda: os.mkfifo(drop + '/fifo'),
    lambda: os.symlink('x', drop + '/link'),
    lambda: os.rename(shared, drop + '/renamed'),
    lambda: os.replace(shared, '/tmp/taken'),
    lambda: os.unlink(shared),
    lambda: os.open(drop, os.O_TMPFILE | os.O_RDWR),
    lambda: os.setxattr(shared, 'user.x', b'x'),
    lambda: os.chmod(shared, 0),
    lambda: os.utime(shared),
):
    try:
        attempt()
        done.append(1)
    except OSError:
        pass
len(done)
"""
    inputs = outside.inputs()
    assert support.value_of(source, inputs) == 0
    # Each of the two that stand before the files would do.
    assert support.value_of(source, inputs, without={LANDLOCK}) == 0
    after = [
        (entry.name, entry.stat().st_mtime_ns, entry.stat().st_size)
        for entry in os.scandir(outside.drop)
    ]
    assert after == before


WRITE_VIEW = """
import stat
done, tried = [], 0
def attempt(function, *arguments):
    global tried
    tried += 1
    try:
        os.close(function(*arguments))
        done.append(arguments)
    except OSError:
        pass
for top, directories, files in os.walk(start):
    if top == '/tmp' or top.startswith('/tmp/'):
        continue
    name = f'{top}/planted'
    attempt(os.open, name, os.O_CREAT | os.O_WRONLY)
    for file in files[::20]:
        path = f'{top}/{file}'
        if stat.S_ISREG(os.lstat(path).st_mode):
            attempt(os.open, path, os.O_RDWR)
            attempt(os.open, path, os.O_WRONLY | os.O_TRUNC)
tried, done[:5]
"""


def test_S01_nothing_in_the_view_can_be_written():
    inputs = {"start": "/"}
    tried, done = support.value_of(WRITE_VIEW, inputs)
    assert tried > 500
    assert done == []
    # The mounts alone, then Landlock alone.
    assert support.value_of(WRITE_VIEW, inputs, without={LANDLOCK})[1] == []
    library = {"start": os.path.dirname(os.__file__)}
    assert support.value_of(WRITE_VIEW, library, without={VIEW})[1] == []


def test_the_view_holds_the_environment_and_nothing_else():
    top = set(csandbox.run("import os; os.listdir('/')"))
    expected = {"dev", "etc", "lib", "lib64", "tmp", "usr"}
    roots = {
        entry[2].split("/")[1] for entry in csandbox.view.environment_view()
    }
    assert top <= roots | expected
    devices = csandbox.run("import os; sorted(os.listdir('/dev'))")
    assert devices == ["full", "null", "random", "urandom", "zero"]


def test_etc_holds_no_more_than_libraries_ask_for():
    names = csandbox.run("import os; sorted(os.listdir('/etc'))")
    assert set(names) <= {"alternatives", "ld.so.cache", "pki", "ssl"}
    private = csandbox.run("import os; os.path.exists('/etc/ssl/private')")
    assert private is False


P16_PROGRAM = """
import csandbox
print(csandbox.run('''
import os, inside
def reads(path):
    try:
        return open(path).read()
    except OSError as error:
        return type(error).__name__
site = os.path.dirname(inside.__file__)
[reads(path) for path in (
    site + "/inside.py",
    site + "-sibling/secret",
    site + "/../site-packages-sibling/secret",
    site + "/link",
    site + "/directory/secret",
)]
'''))
"""


def test_P16_siblings_dots_and_links_out_of_the_view_lead_nowhere(outside):
    # A view is made for an environment of its own, with traps in it.
    prefix = outside.root / "venv"
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", prefix], check=True
    )
    site = next(prefix.glob("lib/python*/site-packages"))
    (site / "inside.py").write_text("x = 1")
    (site / "link").symlink_to(outside.secret)
    (site / "directory").symlink_to(outside.secret.parent)
    # Beside the view's tree, which is lib and not site-packages.
    library = prefix / "lib"
    sibling = prefix / "lib-sibling"
    sibling.mkdir()
    (sibling / "secret").write_text("secret")
    program = P16_PROGRAM.replace(
        'site + "-sibling/secret"', f'"{sibling}/secret"'
    ).replace(
        'site + "/../site-packages-sibling/secret"',
        f'"{library}/../lib-sibling/secret"',
    )
    completed = subprocess.run(
        [prefix / "bin/python", "-c", program],
        env={
            "PYTHONPATH": os.path.dirname(os.path.dirname(csandbox.__file__)),
            **support.sanitizers(),
        },
        capture_output=True,
        text=True,
    )
    missing = "FileNotFoundError"
    assert completed.stdout == f"{['x = 1', *[missing] * 4]}\n", completed


def test_a_hard_link_into_the_view_cannot_be_made_from_inside():
    source = """
import csv
os.link(csv.__file__, '/tmp/link')
"""
    result = support.run_guest(source, without={USERNS})
    assert result.error.type_name in support.OS_ERRORS
