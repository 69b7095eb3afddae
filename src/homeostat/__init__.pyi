"""What type checkers see of the package's own names."""

from homeostat.analysis.compare import compare as compare
from homeostat.reports.drift import DriftReport as DriftReport
from homeostat.sdk import Client as Client
from homeostat.stats.profile import Profile as Profile

__version__: str
