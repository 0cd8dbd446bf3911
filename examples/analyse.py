"""Run an analysis that we do not trust over a table of ours.

    python examples/analyse.py [SCRIPT [TABLE]]

The script reads the table from its standard input.  What it prints appears
here, and so does the value of its last line, which must be plain data.
"""

import pprint
import sys
from pathlib import Path

import csandbox

HERE = Path(__file__).parent


def main(script=HERE / "yearly.py", table=HERE / "seattle_weather.csv"):
    """Run the script over the table, and return an exit status."""
    try:
        value = csandbox.run(
            Path(script).read_text(),
            stdin=Path(table).read_text(),
            timeout=5,
            memory="256M",
        )
    except csandbox.SandboxError as error:
        print(error, file=sys.stderr)
        return 1
    pprint.pprint(value, sort_dicts=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
