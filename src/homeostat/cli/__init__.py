"""The command line. Exit status: 0 fine, 1 a finding, 2 bad usage or input."""

from __future__ import annotations

import sys


def main() -> None:
    """The entry point: answers `--version` at once, and loads the rest only when it is needed."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from homeostat import __version__

        print(f"homeostat {__version__}")
        return
    from homeostat.cli.app import run

    sys.exit(run(sys.argv[1:]))
