"""`python -m smalti` is `smalti`."""

import sys

from smalti.cli import main

if __name__ == "__main__":
    sys.exit(main())
