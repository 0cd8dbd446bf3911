"""A notebook on plain ipykernel calls csandbox from its cells."""

from pathlib import Path

import pytest

import csandbox
from real import need
from real.processes import Process, wait_until_gone

nbclient = need("nbclient")
need("ipykernel")
nbformat = need("nbformat")

CELLS = {
    "import": "import csandbox",
    "source": 'csandbox.run("sum(range(10))")',
    "statements": 'csandbox.run("import math\\nn = 20\\nmath.factorial(n)")',
    "function": """
        from statistics import mean

        FACTOR = 3

        def tripled(number):
            return number * FACTOR

        def summary(numbers, *, name):
            return {name: [tripled(n) for n in numbers], "mean": mean(numbers)}

        csandbox.run(summary, ([1, 2, 6],), {"name": "tripled"})
        """,
    "inputs": """
        table = {"a": [1, 2], "b": [3, 4]}
        csandbox.run(
            "{name: sum(row) for name, row in table.items()}",
            inputs={"table": table},
        )
        """,
    "print": '''
        print("before")
        csandbox.run("""
        import sys
        for word in ("from", "the", "guest"):
            print(word)
        print("an error of the guest", file=sys.stderr)
        """)
        print("after")
        ''',
    "raise": '''
        csandbox.run("""
        def divide(a, b):
            return a / b
        divide(1, 0)
        """)
        ''',
    "exit": 'csandbox.run("raise SystemExit(3)")',
    "interrupt": 'csandbox.run("raise KeyboardInterrupt")',
    "timeout": 'csandbox.run("while True: pass", timeout=0.5)',
    "crash": 'csandbox.run("import ctypes; ctypes.string_at(8)")',
    "thread": """
        import asyncio

        await asyncio.gather(
            *(asyncio.to_thread(csandbox.run, f"{n} ** 2") for n in range(4))
        )
        """,
    "loop": '''
        csandbox.run("""
        import asyncio
        asyncio.run(asyncio.sleep(0, 5))
        """)
        ''',
    "escape": r"""csandbox.run("raise ValueError('\\x1b[2J\\x07')")""",
    "again": 'csandbox.run("6 * 7")',
}
FAMILY = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent / "real")!r})
import os
from dataclasses import astuple
from processes import descendants
[astuple(process) for process in descendants(os.getpid())]
"""


def dedent(source):
    lines = source.strip("\n").split("\n")
    margin = len(lines[0]) - len(lines[0].lstrip())
    return "\n".join(line[margin:] for line in lines).strip()


def execute(cells, folder, monkeypatch, **options):
    """Return the executed cells by name."""
    for variable, name in {
        "IPYTHONDIR": "ipython",
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
    }.items():
        monkeypatch.setenv(variable, str(folder / name))
    checkout = Path(csandbox.__file__).parent.parent
    monkeypatch.setenv("PYTHONPATH", str(checkout))
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(dedent(source))
            for source in cells.values()
        ]
    )
    client = nbclient.NotebookClient(
        notebook,
        kernel_name="python3",
        allow_errors=True,
        resources={"metadata": {"path": str(folder)}},
        **{"timeout": 60, **options},
    )
    client.execute()
    return dict(zip(cells, notebook.cells, strict=True))


def value(cell):
    results = [
        output["data"]["text/plain"]
        for output in cell.outputs
        if output.output_type == "execute_result"
    ]
    assert len(results) == 1, cell.outputs
    return eval(results[0], {})


def stream(cell, name):
    return "".join(
        output.text
        for output in cell.outputs
        if output.output_type == "stream" and output.name == name
    )


def error(cell):
    errors = [
        output for output in cell.outputs if output.output_type == "error"
    ]
    assert len(errors) == 1, cell.outputs
    return errors[0]


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield execute(
            {**CELLS, "family": FAMILY},
            tmp_path_factory.mktemp("notebook"),
            monkeypatch,
        )


def test_source_gives_its_value(executed):
    assert executed["import"].outputs == []
    assert value(executed["source"]) == 45
    assert value(executed["statements"]) == 2432902008176640000


def test_function_defined_in_the_notebook_runs(executed):
    assert value(executed["function"]) == {"tripled": [3, 6, 18], "mean": 3}


def test_inputs_become_variables(executed):
    assert value(executed["inputs"]) == {"a": 3, "b": 7}


def test_prints_appear_in_the_streams_of_the_cell_in_order(executed):
    cell = executed["print"]
    assert stream(cell, "stdout") == "before\nfrom\nthe\nguest\nafter\n"
    assert stream(cell, "stderr") == "an error of the guest\n"


def test_exception_is_shown_with_the_lines_of_the_guest(executed):
    shown = error(executed["raise"])
    assert shown.ename == "GuestError"
    assert "ZeroDivisionError: division by zero" in shown.evalue
    assert "return a / b" in shown.evalue


def test_exit_and_interrupt_of_the_guest_do_not_reach_the_kernel(executed):
    assert error(executed["exit"]).ename == "GuestExit"
    assert error(executed["interrupt"]).ename == "GuestError"


def test_timeout_is_shown(executed):
    assert error(executed["timeout"]).ename == "TimeLimitError"


def test_crash_is_shown_and_the_next_cell_runs(executed):
    shown = error(executed["crash"])
    assert shown.ename == "GuestCrash"
    assert "SIGSEGV" in shown.evalue
    assert value(executed["again"]) == 42


def test_runs_work_beside_and_inside_an_event_loop(executed):
    assert value(executed["thread"]) == [0, 1, 4, 9]
    assert value(executed["loop"]) == 5


def test_escape_sequences_of_the_guest_are_shown_inert(executed):
    shown = error(executed["escape"])
    assert shown.ename == "GuestError"
    assert "\x1b" not in shown.evalue and "\x07" not in shown.evalue
    assert not any("\x1b[2J" in line for line in shown.traceback)


def test_nothing_is_left_after_the_kernel(executed):
    family = [Process(*fields) for fields in value(executed["family"])]
    assert family
    assert wait_until_gone(family) == []


def test_interrupted_cell_ends_its_run(tmp_path, monkeypatch):
    cells = {
        "import": "import csandbox; csandbox.run('1')",
        "stuck": 'csandbox.run("while True: pass", timeout=300)',
        "next": 'csandbox.run("6 * 7")',
    }
    executed = execute(
        cells, tmp_path, monkeypatch, timeout=5, interrupt_on_timeout=True
    )
    assert error(executed["stuck"]).ename == "KeyboardInterrupt"
    assert value(executed["next"]) == 42
