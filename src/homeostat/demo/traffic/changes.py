"""What changes in the demo's traffic over the simulated year, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from homeostat.demo.traffic.looks import LOOKS
from homeostat.frames import Floats

PHISHING = "phishing"
LEGITIMATE = "legitimate"

# How often each look is used before anything changes.
FIRST_SHARES: Mapping[str, Mapping[str, float]] = {
    LEGITIMATE: {
        "colleague": 0.344,
        "customer": 0.29,
        "newsletter": 0.20,
        "notification": 0.125,
        "credential_lure": 0.0175,
        "payment_lure": 0.0235,
    },
    PHISHING: {
        "credential_lure": 0.485,
        "payment_lure": 0.410,
        "customer": 0.045,
        "newsletter": 0.02,
        "notification": 0.02,
        "colleague": 0.02,
    },
}
FIRST_BASE_RATE = 0.12


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happens to the traffic, and stays.

    From `start` on, the looks in `shares` move in a straight line to those shares of the mail with that label, which
    they have from `full` on; the other looks of that label fill the rest in their old proportions.
    """

    name: str
    start: date
    full: date
    label: str
    shares: Mapping[str, float]
    description: str


@dataclass(frozen=True, slots=True)
class Surge:
    """A time in which attackers send more: the base rate from `start` until before `end`."""

    start: date
    end: date
    base_rate: float


AUGUST = (
    Change(
        "qr_campaign",
        date(2025, 8, 1),
        date(2025, 8, 1),
        PHISHING,
        {"qr_campaign": 0.125, "customer": 0.04, "newsletter": 0.015, "notification": 0.015, "colleague": 0.015},
        "One sudden campaign: QR codes in pictures, sent from mailboxes of real firms that were taken over.",
    ),
    Change(
        "vendor",
        date(2025, 8, 1),
        date(2025, 8, 1),
        LEGITIMATE,
        {"vendor": 0.042, "credential_lure": 0.012, "payment_lure": 0.016},
        "A new supplier takes over the company's reminders and sends pressing mail with shortened links.",
    ),
    Change(
        "machine_written",
        date(2025, 8, 15),
        date(2025, 9, 15),
        PHISHING,
        {"machine_written": 0.16, "customer": 0.03, "newsletter": 0.012, "notification": 0.012, "colleague": 0.011},
        "Attackers move, bit by bit, to faultless personal text written by a machine.",
    ),
)
WAVES = (
    Change(
        "calendar_invite",
        date(2025, 11, 24),
        date(2025, 11, 24),
        PHISHING,
        {"calendar_invite": 0.20},
        "Attackers send calendar invitations.",
    ),
    Change(
        "year_end_shop",
        date(2025, 11, 24),
        date(2025, 11, 24),
        LEGITIMATE,
        {"year_end_shop": 0.04},
        "Year-end offers of a shop that the company orders from look like lures.",
    ),
    Change(
        "shared_file",
        date(2026, 2, 2),
        date(2026, 2, 2),
        PHISHING,
        {"shared_file": 0.20},
        "Attackers share files through a genuine cloud service.",
    ),
    Change(
        "payroll_portal",
        date(2026, 2, 2),
        date(2026, 2, 2),
        LEGITIMATE,
        {"payroll_portal": 0.04},
        "A new payroll portal asks employees to sign in.",
    ),
)
AUGUST_SURGE = Surge(date(2025, 8, 1), date(2025, 10, 1), 0.15)
WAVE_SURGES = (
    Surge(date(2025, 11, 24), date(2026, 1, 1), 0.15),
    Surge(date(2026, 2, 2), date(2026, 3, 1), 0.15),
)


def changes(*, waves: bool = False) -> tuple[Change, ...]:
    """Everything that happens in the simulated year, in order; with `waves` also in November and February.

    >>> [change.name for change in changes()]
    ['qr_campaign', 'vendor', 'machine_written']
    """
    return AUGUST + WAVES if waves else AUGUST


def base_rate(day: date, *, waves: bool = False) -> float:
    """The share of phishing among the e-mails of a day."""
    surges = (AUGUST_SURGE, *WAVE_SURGES) if waves else (AUGUST_SURGE,)
    return next((surge.base_rate for surge in surges if surge.start <= day < surge.end), FIRST_BASE_RATE)


def shares(day: date, label: str, happened: Sequence[Change]) -> Floats:
    """How often each look (in the order of `LOOKS`) is used by the mail of a label on a day; sums to 1.

    >>> from homeostat.demo.traffic.looks import LOOKS
    >>> dict(zip(LOOKS, shares(date(2025, 8, 2), "phishing", changes()).round(3)))["qr_campaign"].item()
    0.125
    """
    mix = dict(FIRST_SHARES[label])
    for change in happened:
        if change.label != label or day < change.start:
            continue
        length = (change.full - change.start).days
        progress = min(1.0, (day - change.start).days / length) if length else 1.0
        others = sum(share for look, share in mix.items() if look not in change.shares)
        rest = (1.0 - sum(change.shares.values())) / others
        after = {look: share * rest for look, share in mix.items()} | dict(change.shares)
        mix = {look: (1.0 - progress) * mix.get(look, 0.0) + progress * share for look, share in after.items()}
    return np.array([mix.get(look, 0.0) for look in LOOKS])
