"""``python -m l4proxy`` and the console script ``l4proxy``."""

import sys

from l4proxy.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
