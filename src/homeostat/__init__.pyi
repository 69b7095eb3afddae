"""What type checkers see of the package's own names."""

from homeostat.analysis.compare import compare as compare
from homeostat.analysis.experiments import analyze_experiment as analyze_experiment
from homeostat.analysis.models import compare_models as compare_models
from homeostat.analysis.performance import estimate_performance as estimate_performance
from homeostat.reports.drift import DriftReport as DriftReport
from homeostat.sdk import Client as Client
from homeostat.stats.inference import sample_size as sample_size
from homeostat.stats.profile import Profile as Profile

__version__: str
