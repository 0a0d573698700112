"""``python -m bench``, the same as ``voicebooth bench``."""

import sys

from bench.cli import main

sys.exit(main())
