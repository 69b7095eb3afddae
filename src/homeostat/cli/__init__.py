"""The command line. Exit status: 0 fine, 1 a finding, 2 bad usage or input."""

from __future__ import annotations

import os
import sys

# The loop works on small batches, for which waiting numeric threads cost many times what they save where cores are
# shared; forests are trained on all cores all the same. Whoever sets these in the environment is not overruled.
THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def main() -> None:
    """The entry point: answers `--version` at once, and loads the rest only when it is needed."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from homeostat import __version__

        print(f"homeostat {__version__}")
        return
    for name in THREAD_LIMITS:
        os.environ.setdefault(name, "1")
    from homeostat.cli.app import run

    sys.exit(run(sys.argv[1:]))
