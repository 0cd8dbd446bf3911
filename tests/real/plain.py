"""Runs a program as a guest is run, but without any sandbox.

Called as ``python plain.py JOB``: JOB is a pickle of the source and its
inputs; the pickle of the value is written beside it.  A root user becomes an
ordinary one first, because a guest is never root.
"""

import ast
import ctypes
import os
import pickle
import sys

CLONE_NEWUSER = 0x10000000
NOBODY = 65534


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def become_ordinary():
    """Give up uid 0 and all capabilities.

    In a user namespace the files of root stay readable, so that an
    interpreter under a closed home can still be executed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER) == 0:
        write("/proc/self/setgroups", "deny")
        write("/proc/self/uid_map", f"{NOBODY} 0 1")
        write("/proc/self/gid_map", f"{NOBODY} 0 1")
    else:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    os.execv(sys.executable, sys.orig_argv)


def evaluate(source, names):
    """Execute statements and return the value of a last expression."""
    tree = ast.parse(source)
    last = None
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        last = ast.Expression(tree.body.pop().value)
    exec(compile(tree, "<program>", "exec"), names)
    if last is not None:
        return eval(compile(last, "<program>", "eval"), names)
    return None


def main(job):
    if os.geteuid() == 0:
        become_ordinary()
    with open(job, "rb") as file:
        source, inputs = pickle.load(file)
    names = sys.modules["__main__"].__dict__
    names.update(inputs)
    value = evaluate(source, names)
    with open(job + ".value", "wb") as file:
        pickle.dump(value, file)


if __name__ == "__main__":
    main(sys.argv[1])
