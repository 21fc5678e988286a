"""The process that builds one run's index: ``python -m aha.view.index RUN``. It ends with its input."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from aha.view.index.building import IndexBuilder
from aha.view.index.keeper import building_lock, end_with_parent


def main(run: Path) -> int:
    """Build until nothing is left to read."""
    with contextlib.suppress(OSError, AttributeError):
        os.nice(10)  # whoever trains here comes first
    with building_lock(run) as mine:
        if not mine:
            return 0
        builder = IndexBuilder(run)
        try:
            while builder.build():
                pass
        finally:
            builder.close()
    return 0


if __name__ == "__main__":
    end_with_parent()
    sys.exit(main(Path(sys.argv[1])))
