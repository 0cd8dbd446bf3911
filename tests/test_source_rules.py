"""Rules that every source file keeps, crude and quick."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

from csandbox import _csandbox, bootstrap

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "csandbox"
NATIVE = PACKAGE / "native"
C_FILES = sorted(NATIVE.glob("*/*.[ch]"))
# One table each, which would not be easier to read in two parts.
MAY_BE_LONG = {"syscalls.c"}
MADE = {
    *("__pycache__", "build", "dist", ".venv", ".git"),
    *(".hypothesis", ".pytest_cache", ".mypy_cache", ".ruff_cache"),
}


def in_order(paths):
    return [pytest.param(path, id=path.name) for path in sorted(paths)]


def code(path):
    """Return the text of a C file without comments and strings."""
    text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
    return re.sub(r'"(?:\\.|[^"\\\n])*"', '""', text)


def files_of_the_project():
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        made = any(each in MADE or ".egg-info" in each for each in parts)
        if path.is_file() and not made and path.suffix != ".so":
            yield path


def test_there_is_something_to_check():
    assert len(C_FILES) > 30


@pytest.mark.parametrize("folder", ["cell", "common"])
def test_no_python_and_no_unsafe_libc_between_fork_and_guest(folder):
    """Another thread may have held their locks at the fork, or does now."""
    calls = (
        r"(?:m|c|re|aligned_)alloc|free|strdup|v?s?n?printf|v?[fd]printf|puts|"
        r"f(?:open|close|gets|puts|read|write|flush)|strerror\w*|perror|exit|"
        r"atexit|getenv|setenv|dlopen|syslog|get(?:pw|gr)\w+"
    )
    for path in sorted((NATIVE / folder).glob("*.[ch]")):
        text = code(path)
        assert not re.findall(rf"\b(?:{calls})\s*\(", text), path
        assert not re.findall(r"#include <(?:Python|stdio|stdlib)\.h>", text)
        assert not re.findall(r"\bPy_?[A-Z]\w*", text), path


def test_only_the_host_and_the_zygotes_loop_know_python():
    knowing = {
        path.relative_to(NATIVE).as_posix()
        for path in C_FILES
        if re.search(r"\bPy(?:Object|_[A-Z])", code(path))
    }
    outside = {name for name in knowing if not name.startswith("host/")}
    assert outside <= {
        *("zygote/arm.c", "zygote/serve.c", "zygote/serve.h"),
        *("zygote/refuse.c", "zygote/refuse.h"),
        *("zygote/pages.c", "zygote/pages.h"),
        "zygote/denied.c",  # on the guest's own objects
    }


@pytest.mark.parametrize("path", in_order(C_FILES))
def test_c_is_79_columns_wide_without_tabs(path):
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        where = f"{path.name}:{number}"
        assert len(line) <= 79, where
        assert "\t" not in line, where
        assert line == line.rstrip(), where


@pytest.mark.parametrize(
    "path", in_order([*C_FILES, *PACKAGE.glob("*.py"), *PACKAGE.glob("*.pyi")])
)
def test_files_are_at_most_600_lines_long(path):
    lines = len(path.read_text().splitlines())
    assert lines <= 600 or path.name in MAY_BE_LONG


@pytest.mark.parametrize("path", in_order(NATIVE.glob("*/*.h")))
def test_headers_have_a_guard(path):
    guards = re.findall(r"^#(?:ifndef|define) (CSB_\w+_H)\b", code(path), re.M)
    assert len(guards) == 2, path
    assert guards[0] == guards[1], path


def test_only_the_init_function_is_exported():
    listed = subprocess.run(
        ["nm", "--dynamic", "--defined-only", _csandbox.__file__],
        capture_output=True,
        text=True,
        check=True,
    )
    names = [line.split()[-1] for line in listed.stdout.splitlines()]
    assert names == ["PyInit__csandbox"]


def test_no_file_names_a_machine_or_a_registry():
    # Put together here, or this file would be the one that is found.
    words = (
        *("/wo" + "rk/", "/ro" + "ot/.py" + "env", "/opt/" + "wheels"),
        *("py" + "pi.org", "python" + "hosted", "npm" + "js.org"),
        *("deb." + "debian.org", "archive." + "ubuntu.com"),
    )
    for path in files_of_the_project():
        data = path.read_bytes()
        for word in words:
            assert word.encode() not in data, f"{path}: {word}"


def declared(body):
    """Return the names that a stub declares, and those of its classes."""
    names, classes = set(), {}
    for node in body:
        if isinstance(node, ast.ClassDef):
            classes[node.name], _ = declared(node.body)
            names.add(node.name)
        elif isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign):
            names.add(node.target.id)
    return names, classes


def test_the_stub_declares_what_the_core_has():
    tree = ast.parse((PACKAGE / "_csandbox.pyi").read_text())
    names, classes = declared(tree.body)
    assert names == {name for name in dir(_csandbox) if name[0] != "_"}
    for name, members in classes.items():
        kind = getattr(_csandbox, name)
        if issubclass(kind, BaseException):
            continue
        public = {each for each in vars(kind) if each[0] != "_"}
        special = {"__new__", "__len__", "__buffer__"}
        special |= {"__enter__", "__exit__"}
        assert members - special == public, name


def test_every_method_of_the_core_has_a_docstring_with_its_signature():
    kinds = [_csandbox.Zygote, _csandbox.Run, _csandbox.Inputs]
    kinds += [_csandbox.Places, _csandbox.Place]
    for owner in (_csandbox, *kinds):
        for name, member in vars(owner).items():
            if callable(member) and not isinstance(member, type):
                if name.startswith("_"):
                    continue
                assert member.__doc__, name
                assert member.__text_signature__ is not None, name


def names_of(path):
    """Return what a module defines at its top, by def, class or assignment."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            found |= {
                each.id
                for each in ast.walk(node)
                if isinstance(each, ast.Name)
                and isinstance(each.ctx, ast.Store)
            }
    return found - {"TYPE_CHECKING"}


def test_the_files_of_the_guest_do_not_take_each_others_names():
    """They are executed in one namespace."""
    owner = {}
    for name in (bootstrap.FIRST_FILE, *bootstrap.GUEST_FILES):
        for each in names_of(PACKAGE / name):
            assert each not in owner, (each, name, owner[each])
            owner[each] = name
