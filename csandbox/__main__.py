"""`python -m csandbox` is the command `csandbox`."""

import sys

if not sys.flags.safe_path:
    # The current directory, where the untrusted program may lie beside an
    # argparse.py of its own.  `python -P -m csandbox` shuts that door sooner.
    del sys.path[0]

from csandbox.cli import main

if __name__ == "__main__":
    sys.exit(main())
