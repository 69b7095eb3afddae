"""What `/metrics` says: the data plane's own counts, and the control state as it is when somebody asks."""

from homeostat.http.metrics.families import Described, label_value
from homeostat.http.metrics.server import ServerMetrics, mark_process_dead
from homeostat.http.metrics.state import StateCollector
from homeostat.http.metrics.text import exposition

__all__ = ["Described", "ServerMetrics", "StateCollector", "exposition", "label_value", "mark_process_dead"]
