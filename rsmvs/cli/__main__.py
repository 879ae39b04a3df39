"""`python -m rsmvs.cli` is the same as `rsmvs`."""

import sys

from rsmvs.cli import main

sys.exit(main())
