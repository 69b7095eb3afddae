"""What type checkers see of the package's own names."""

from homeostat.sdk import Client as Client

__version__: str
