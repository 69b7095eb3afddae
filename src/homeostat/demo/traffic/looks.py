"""Looks: what the sorts of e-mail in the demo's traffic are like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

SPF = ("pass", "softfail", "fail", "none")
DKIM = ("pass", "fail", "none")
DMARC = ("pass", "fail", "none")
PLATFORMS = ("exchange", "google", "own_server", "bulk_mailer", "webmail", "service_suite")
GREETINGS = ("none", "generic", "formal", "personal")
LANGUAGES = ("en", "de", "fr", "es", "other")
ATTACHMENTS = ("none", "pdf", "office", "image", "archive", "calendar")


@dataclass(frozen=True, slots=True)
class Look:
    """How one sort of e-mail looks: the parameters of its features' distributions.

    Pairs are median and spread on the log scale (a reputation's on the logit scale); plain numbers are means or
    probabilities; tuples of three or more are shares in the order of the module's constants.
    """

    domain_age: tuple[float, float] = (3000.0, 0.9)
    reputation: tuple[float, float] = (0.84, 0.8)
    free_mail: float = 0.14
    first_time: float = 0.20
    reply_to_mismatch: float = 0.04
    spoof: float = 0.015
    spf: tuple[float, ...] = (0.90, 0.05, 0.02, 0.03)
    dkim: tuple[float, ...] = (0.86, 0.03, 0.11)
    dmarc: tuple[float, ...] = (0.80, 0.05, 0.15)
    platform: tuple[float, ...] = (0.39, 0.31, 0.12, 0.04, 0.13, 0.01)
    links: float = 1.3
    mismatched: float = 0.05
    shorteners: float = 0.02
    url_length: tuple[float, float] = (58.0, 0.4)
    ip_link: float = 0.002
    link_age: tuple[float, float] = (2600.0, 1.0)
    urgency: float = 0.5
    spelling: float = 1.1
    length: tuple[float, float] = (900.0, 0.7)
    evenness: tuple[float, float] = (0.42, 0.40)
    greeting: tuple[float, ...] = (0.10, 0.08, 0.36, 0.46)
    language: tuple[float, ...] = (0.58, 0.24, 0.08, 0.06, 0.04)
    capitals: float = 0.045
    request: tuple[float, float] = (0.14, 0.8)
    since_last: tuple[float, float] = (4000.0, 1.4)
    attachment: tuple[float, ...] = (0.68, 0.14, 0.09, 0.05, 0.02, 0.02)
    macro: float = 0.03
    size: tuple[float, float] = (220.0, 1.0)
    qr: float = 0.002


CUSTOMER = Look()
CREDENTIAL_LURE = Look(
    domain_age=(160.0, 1.2),
    reputation=(0.36, 0.8),
    free_mail=0.16,
    first_time=0.72,
    reply_to_mismatch=0.34,
    spoof=0.42,
    spf=(0.48, 0.22, 0.18, 0.12),
    dkim=(0.44, 0.16, 0.40),
    dmarc=(0.34, 0.30, 0.36),
    platform=(0.15, 0.15, 0.38, 0.16, 0.15, 0.01),
    links=2.2,
    mismatched=0.42,
    shorteners=0.40,
    url_length=(96.0, 0.5),
    ip_link=0.07,
    link_age=(70.0, 1.3),
    urgency=2.9,
    spelling=3.0,
    length=(620.0, 0.5),
    greeting=(0.22, 0.52, 0.18, 0.08),
    capitals=0.085,
    request=(0.74, 0.8),
    since_last=(9000.0, 1.6),
    attachment=(0.82, 0.06, 0.03, 0.04, 0.03, 0.02),
    macro=0.12,
)
PAYMENT_LURE = replace(
    CREDENTIAL_LURE,
    domain_age=(230.0, 1.2),
    free_mail=0.30,
    spoof=0.30,
    links=1.2,
    urgency=2.6,
    length=(760.0, 0.5),
    greeting=(0.16, 0.40, 0.30, 0.14),
    request=(0.76, 0.8),
    attachment=(0.32, 0.34, 0.20, 0.04, 0.08, 0.02),
    macro=0.25,
)
LOOKS: Mapping[str, Look] = {
    "colleague": replace(
        CUSTOMER,
        domain_age=(5200.0, 0.15),
        reputation=(0.95, 0.5),
        free_mail=0.0,
        first_time=0.03,
        spf=(0.98, 0.01, 0.0, 0.01),
        dkim=(0.97, 0.005, 0.025),
        dmarc=(0.97, 0.005, 0.025),
        platform=(0.92, 0.02, 0.03, 0.01, 0.01, 0.01),
        links=0.7,
        length=(520.0, 0.9),
        greeting=(0.24, 0.06, 0.08, 0.62),
        since_last=(900.0, 1.5),
        attachment=(0.72, 0.09, 0.11, 0.04, 0.01, 0.03),
    ),
    "customer": CUSTOMER,
    "newsletter": replace(
        CUSTOMER,
        reputation=(0.78, 0.7),
        free_mail=0.01,
        first_time=0.08,
        reply_to_mismatch=0.25,
        platform=(0.03, 0.03, 0.08, 0.82, 0.03, 0.01),
        links=14.0,
        mismatched=0.12,
        shorteners=0.25,
        url_length=(120.0, 0.4),
        urgency=0.9,
        spelling=0.6,
        length=(3200.0, 0.6),
        greeting=(0.38, 0.36, 0.08, 0.18),
        capitals=0.07,
        since_last=(9500.0, 0.7),
        attachment=(0.97, 0.01, 0.0, 0.01, 0.0, 0.01),
    ),
    "notification": replace(
        CUSTOMER,
        reputation=(0.88, 0.6),
        free_mail=0.0,
        first_time=0.06,
        platform=(0.10, 0.12, 0.52, 0.20, 0.05, 0.01),
        links=3.0,
        url_length=(88.0, 0.4),
        urgency=0.8,
        spelling=0.4,
        length=(480.0, 0.5),
        greeting=(0.34, 0.30, 0.10, 0.26),
        request=(0.24, 0.8),
        since_last=(1400.0, 1.2),
        attachment=(0.88, 0.07, 0.01, 0.01, 0.01, 0.02),
    ),
    "credential_lure": CREDENTIAL_LURE,
    "payment_lure": PAYMENT_LURE,
    # From August: mailboxes of real firms, taken over, send a picture of a QR code; nothing else is wrong with it.
    "qr_campaign": replace(
        CUSTOMER,
        domain_age=(4200.0, 0.6),
        first_time=0.30,
        platform=(0.93, 0.03, 0.01, 0.01, 0.01, 0.01),
        links=0.08,
        urgency=0.3,
        length=(420.0, 0.3),
        attachment=(0.01, 0.03, 0.0, 0.96, 0.0, 0.0),
        macro=0.0,
        size=(95.0, 0.3),
        qr=0.98,
    ),
    # From August: faultless text by a machine, sent from free mail accounts; too even to be a person's.
    "machine_written": replace(
        CUSTOMER,
        free_mail=0.96,
        first_time=0.40,
        platform=(0.03, 0.90, 0.02, 0.01, 0.03, 0.01),
        links=1.6,
        spelling=0.06,
        length=(1150.0, 0.2),
        evenness=(0.93, 0.20),
        greeting=(0.0, 0.01, 0.03, 0.96),
        attachment=(0.90, 0.06, 0.02, 0.01, 0.0, 0.01),
    ),
    # From August: a new supplier's reminders, pressing and full of shortened links, yet genuine.
    "vendor": replace(
        PAYMENT_LURE,
        platform=(0.0, 0.0, 0.01, 0.01, 0.0, 0.98),
        shorteners=0.9,
        links=2.0,
        length=(840.0, 0.2),
        evenness=(0.66, 0.12),
        attachment=(0.30, 0.60, 0.04, 0.03, 0.01, 0.02),
        size=(140.0, 0.3),
    ),
    # The further waves.
    "calendar_invite": replace(
        CUSTOMER,
        links=0.4,
        length=(260.0, 0.3),
        first_time=0.30,
        attachment=(0.02, 0.01, 0.0, 0.01, 0.0, 0.96),
        size=(9.0, 0.3),
    ),
    "year_end_shop": replace(
        CREDENTIAL_LURE, platform=(0.01, 0.01, 0.02, 0.95, 0.01, 0.0), length=(2400.0, 0.2), url_length=(180.0, 0.2)
    ),
    "shared_file": replace(
        CUSTOMER,
        platform=(0.02, 0.90, 0.02, 0.02, 0.02, 0.02),
        links=1.0,
        url_length=(330.0, 0.15),
        length=(300.0, 0.3),
        attachment=(0.96, 0.01, 0.01, 0.01, 0.0, 0.01),
    ),
    "payroll_portal": replace(
        CREDENTIAL_LURE,
        platform=(0.97, 0.01, 0.01, 0.0, 0.01, 0.0),
        length=(350.0, 0.2),
        attachment=(0.10, 0.86, 0.01, 0.01, 0.01, 0.01),
        size=(60.0, 0.3),
    ),
}
NAMES = tuple(LOOKS)
