"""Evaluates source text as csandbox does, for those that have no such thing.

Imported by the other contestants, and run as a program by those that start
one: it reads (source, inputs) as a pickle from its standard input, and writes
the value, or the exception's text, to its standard output.
"""

import ast
import contextlib
import io
import pickle
import sys
import traceback


def evaluate(source, inputs):
    """Run the statements; return (value of the last expression, output)."""
    tree = ast.parse(source)
    last = None
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        last = ast.Expression(tree.body.pop().value)
    names = dict(inputs, __name__="__main__")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "<source>", "exec"), names)
        value = None
        if last is not None:
            value = eval(compile(last, "<source>", "eval"), names)
    return value, printed.getvalue()


def answer(job):
    """Return the pickle of (value, output, error) for that of a job."""
    source, inputs = pickle.loads(job)
    try:
        value, printed = evaluate(source, inputs)
        return pickle.dumps((value, printed, None), 5)
    except Exception:
        return pickle.dumps((None, "", traceback.format_exc()), 5)


if __name__ == "__main__":
    sys.stdout.buffer.write(answer(sys.stdin.buffer.read()))
