"""The embedded default: control state in one SQLite file, the prediction log in another."""

from homeostat.stores.sqlite.control import SqliteControlStore
from homeostat.stores.sqlite.log import SqlitePredictionLog

__all__ = ["SqliteControlStore", "SqlitePredictionLog"]
