"""``python -m engines.kokoro``: brings Kokoro's voices and prepares its model."""

from __future__ import annotations

import sys

from engines.kokoro.files import main

if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
