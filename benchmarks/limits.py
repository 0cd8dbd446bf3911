"""What each bomb of tests/bombs.py meets, and what it costs the host.

    python benchmarks/limits.py [--rst] [NAME...]

Prints for each: the limit that ended it (an exception is the guest's own: it
may catch it and go on, within the limit), the seconds from the call until
nothing of it was left, how far the host's resident memory rose meanwhile, and
the host's own processor time as a share of that time.
"""

import argparse
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "tests"))

import bombs
import csandbox

HEADINGS = ("bomb", "ended by", "gone after", "host's memory", "host's load")


def status(field):
    """Return a field of this process's /proc/self/status, in KiB."""
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(field):
                return int(line.split()[1])
    raise LookupError(field)


def measure(bomb):
    """Run one bomb; return its row."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak begins anew: proc(5)
    before, used = status("VmRSS"), time.process_time()
    began = time.monotonic()
    result = csandbox.execute(bomb.source, **bomb.policy)
    took = time.monotonic() - began
    used = time.process_time() - used
    peak = status("VmHWM") - before
    end = bombs.end_of(result.error) if result.error else ("returned", "")
    name = {
        "LimitError": f"``{end[1]}``",
        "TimeLimitError": f"``{end[1]}``",
        "MemoryLimitError": f"``{end[1]}``",
        "OutputLimitError": f"``{end[1]}``",
    }.get(end[0], end[1] or end[0])
    if end not in bomb.ends:
        name += " (not expected)"
    return (
        bomb.name,
        name,
        f"{took:.3f} s",
        f"{max(0, peak) / 1024:.1f} MiB",
        f"{100 * used / took:.0f} %",
    )


def show(rows, *, rst):
    """Print a table, as reStructuredText if `rst`."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    line = "  ".join("=" * width for width in widths)
    for number, row in enumerate(rows):
        if rst and number < 2:
            print(line)
        cells = zip(row, widths, strict=True)
        print("  ".join(cell.ljust(width) for cell, width in cells).rstrip())
    if rst:
        print(line)


def main():
    """Run all bombs, or those named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rst", action="store_true")
    parser.add_argument("name", nargs="*")
    options = parser.parse_args()
    csandbox.run("0")
    rows = [HEADINGS]
    for bomb in bombs.BOMBS:
        if not options.name or any(each in bomb.name for each in options.name):
            rows.append(measure(bomb))
    show(rows, rst=options.rst)


if __name__ == "__main__":
    main()
