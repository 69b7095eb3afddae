"""Which processes of this machine are dead."""

from __future__ import annotations

import os
import socket

from homeostat.records import GatewayReport


def gateway_is_gone(report: GatewayReport) -> bool:
    """Whether a gateway's process ran on this machine and is dead."""
    return is_gone(f"{report.name.rpartition(':')[0]}:{report.pid}:")


def is_gone(holder: str) -> bool:
    """Whether the process that a lease names ran on this machine and is dead."""
    host, _, rest = holder.rpartition(":")[0].rpartition(":")
    if host != socket.gethostname() or not rest.isdecimal() or os.name != "posix":
        return False
    try:
        os.kill(int(rest), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False
