"""Seeded e-mail traffic of a phishing-detection team: a simulated year, with labels that come days late.

Every e-mail has a look (a colleague's note, a newsletter, a lure that asks for a password, ...), and its features
depend on the look alone. Phishing and legitimate mail share looks: a genuine reminder to pay is written like a
forged one, and patient attackers write like customers do. That overlap, and no random flipping of labels, is what
keeps any classifier from being perfect. What changes over the year is how often each look is used (`Change`).
"""

from homeostat.demo.traffic.changes import LEGITIMATE, PHISHING, Change, changes
from homeostat.demo.traffic.features import KINDS
from homeostat.demo.traffic.generator import YEAR_START, Batch, EmailTraffic, bad_training_data

__all__ = [
    "KINDS",
    "LEGITIMATE",
    "PHISHING",
    "YEAR_START",
    "Batch",
    "Change",
    "EmailTraffic",
    "bad_training_data",
    "changes",
]
