"""`python -m zegel` is the command `zegel`."""

import sys

from zegel.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
