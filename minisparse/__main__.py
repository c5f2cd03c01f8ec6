"""`python -m minisparse`."""

import sys

from minisparse.cli import main

sys.exit(main())
