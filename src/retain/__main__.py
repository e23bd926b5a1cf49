"""`python -m retain` is the command `retain`."""

import sys

from retain.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
