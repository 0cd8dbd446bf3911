"""`python -m csandbox` is the command `csandbox`."""

import sys

from csandbox.cli import main

if __name__ == "__main__":
    sys.exit(main())
