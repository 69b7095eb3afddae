"""Frozen nouns and enums: the words of the design as data."""

from homeostat.frames import Kind as Kind
from homeostat.records.blocks import *  # noqa: F403 (one namespace of nouns; the folder only splits the file)
from homeostat.records.enums import *  # noqa: F403
from homeostat.records.keys import *  # noqa: F403
from homeostat.records.nouns import *  # noqa: F403
from homeostat.records.policy import *  # noqa: F403
from homeostat.records.processes import *  # noqa: F403
from homeostat.records.replies import *  # noqa: F403
from homeostat.records.rollouts import *  # noqa: F403
from homeostat.records.steps import *  # noqa: F403
from homeostat.records.tables import TABLES as TABLES
