"""How the features of e-mails are drawn, given the looks that the e-mails have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from homeostat.demo.traffic.looks import ATTACHMENTS, DKIM, DMARC, GREETINGS, LANGUAGES, LOOKS, PLATFORMS, SPF
from homeostat.frames import Array, Columns, Floats, Kind

KINDS: Mapping[str, Kind] = {
    "sender_domain_age_days": Kind.NUMERIC,
    "sender_reputation": Kind.NUMERIC,
    "free_mail_provider": Kind.BOOLEAN,
    "first_time_sender": Kind.BOOLEAN,
    "reply_to_mismatch": Kind.BOOLEAN,
    "display_name_spoof": Kind.BOOLEAN,
    "spf": Kind.CATEGORICAL,
    "dkim": Kind.CATEGORICAL,
    "dmarc": Kind.CATEGORICAL,
    "sending_platform": Kind.CATEGORICAL,
    "link_count": Kind.NUMERIC,
    "mismatched_link_share": Kind.NUMERIC,
    "url_shortener_count": Kind.NUMERIC,
    "longest_url_length": Kind.NUMERIC,
    "ip_address_link": Kind.BOOLEAN,
    "link_domain_age_days": Kind.NUMERIC,
    "urgency_word_rate": Kind.NUMERIC,
    "spelling_error_rate": Kind.NUMERIC,
    "text_length": Kind.NUMERIC,
    "sentence_evenness": Kind.NUMERIC,
    "greeting": Kind.CATEGORICAL,
    "language": Kind.CATEGORICAL,
    "capital_share": Kind.NUMERIC,
    "request_score": Kind.NUMERIC,
    "hour": Kind.NUMERIC,
    "weekday": Kind.NUMERIC,
    "minutes_since_last_mail": Kind.NUMERIC,
    "attachment_count": Kind.NUMERIC,
    "attachment_kind": Kind.CATEGORICAL,
    "macro_in_attachment": Kind.BOOLEAN,
    "attachment_size_kb": Kind.NUMERIC,
    "qr_code": Kind.BOOLEAN,
}


def draw_features(
    looks: npt.NDArray[np.intp],
    hour: Floats,
    weekday: Floats,
    rng: np.random.Generator,
) -> Columns:
    """One row of features for each e-mail, in the order of `KINDS`.

    `looks` are positions in `LOOKS`; `hour` (0–23) and `weekday` (0 for Monday) are those of the e-mail's arrival.
    """
    draw = _Draw(looks, rng)
    domain_age = draw.lognormal("domain_age")
    reputation = draw.logit("reputation")
    free_mail = draw.flag("free_mail")
    first_time = draw.flag("first_time")
    reply_to_mismatch = draw.flag("reply_to_mismatch")
    spoof = draw.flag("spoof")
    spf = draw.category("spf", SPF)
    dkim = draw.category("dkim", DKIM)
    dmarc = draw.category("dmarc", DMARC)
    platform = draw.category("platform", PLATFORMS)
    links = draw.count("links")
    without_links = links == 0
    mismatched = draw.part_of(links, "mismatched")
    shorteners = np.minimum(draw.count("shorteners"), links)
    url_length = draw.lognormal("url_length", lowest=11.0)
    ip_link = draw.flag("ip_link") * ~without_links
    link_age = draw.lognormal("link_age")
    urgency = draw.rate("urgency")
    spelling = draw.rate("spelling")
    length = draw.lognormal("length", lowest=12.0)
    evenness = draw.logit("evenness")
    greeting = draw.category("greeting", GREETINGS)
    language = draw.category("language", LANGUAGES)
    capitals = np.minimum(draw.rate("capitals"), 1.0)
    request = draw.logit("request")
    since_last = draw.lognormal("since_last")
    kind = draw.category("attachment", ATTACHMENTS)
    attached = kind != "none"
    macro = draw.flag("macro") * ((kind == "office") | (kind == "archive"))
    size = draw.lognormal("size")
    extra = rng.poisson(0.25, len(looks))
    qr_code = draw.flag("qr")
    dictionary = language != "other"
    _lose(language, 0.01, rng)
    return Columns(
        {
            "sender_domain_age_days": _lose(domain_age, 0.04, rng),
            "sender_reputation": _lose(reputation, 0.02, rng),
            "free_mail_provider": free_mail,
            "first_time_sender": first_time,
            "reply_to_mismatch": reply_to_mismatch,
            "display_name_spoof": spoof,
            "spf": spf,
            "dkim": dkim,
            "dmarc": dmarc,
            "sending_platform": platform,
            "link_count": links,
            "mismatched_link_share": mismatched,
            "url_shortener_count": shorteners,
            "longest_url_length": np.where(without_links, np.nan, url_length),
            "ip_address_link": ip_link,
            "link_domain_age_days": _lose(np.where(without_links, np.nan, link_age), 0.05, rng),
            "urgency_word_rate": urgency,
            "spelling_error_rate": np.where(dictionary, spelling, np.nan),
            "text_length": length,
            "sentence_evenness": evenness,
            "greeting": greeting,
            "language": language,
            "capital_share": capitals,
            "request_score": request,
            "hour": hour,
            "weekday": weekday,
            "minutes_since_last_mail": np.where(first_time == 1.0, np.nan, since_last),
            "attachment_count": np.where(attached, 1.0 + extra, 0.0),
            "attachment_kind": kind,
            "macro_in_attachment": macro,
            "attachment_size_kb": np.where(attached, size, np.nan),
            "qr_code": qr_code,
        }
    )


def _lose(values: Array, share: float, rng: np.random.Generator) -> Array:
    """Blanks a random share of the values, as failed look-ups do."""
    values[rng.random(len(values)) < share] = None
    return values


def _parameters() -> dict[str, Floats]:
    """Each parameter of all looks: an array with one row a look."""
    some = next(iter(LOOKS.values()))
    return {name: np.array([getattr(look, name) for look in LOOKS.values()], dtype=float) for name in some.__slots__}


class _Draw:
    """Draws one value an e-mail, with the parameters of its look."""

    def __init__(self, looks: npt.NDArray[np.intp], rng: np.random.Generator) -> None:
        self.looks = looks
        self.rng = rng

    def lognormal(self, name: str, *, lowest: float = 1.0) -> Floats:
        """Whole numbers around the median."""
        median, spread = PARAMETERS[name][self.looks].T
        values: Floats = np.round(median * np.exp(spread * self.rng.standard_normal(len(median))))
        return np.maximum(values, lowest)

    def logit(self, name: str) -> Floats:
        """Scores between 0 and 1 in hundredths, with the spread on the logit scale."""
        median, spread = PARAMETERS[name][self.looks].T
        middle = np.log(median / (1.0 - median))
        values: Floats = 1.0 / (1.0 + np.exp(-middle - spread * self.rng.standard_normal(len(median))))
        return np.round(values, 2)

    def flag(self, name: str) -> Floats:
        """0 or 1."""
        return (self.rng.random(len(self.looks)) < PARAMETERS[name][self.looks]).astype(np.float64)

    def count(self, name: str) -> Floats:
        """Counts that scatter more than a Poisson's (negative binomial with two successes)."""
        mean = PARAMETERS[name][self.looks]
        return self.rng.poisson(mean * self.rng.gamma(2.0, 0.5, len(mean))).astype(np.float64)

    def part_of(self, counts: Floats, name: str) -> Floats:
        """The share of the counted things that have a property; missing where there are none."""
        hits = self.rng.binomial(counts.astype(np.int64), PARAMETERS[name][self.looks])
        return np.where(counts == 0, np.nan, hits / np.maximum(counts, 1.0))

    def rate(self, name: str) -> Floats:
        """Rates of zero and more (gamma with shape 1.5)."""
        return np.multiply(PARAMETERS[name][self.looks], self.rng.gamma(1.5, 1.0 / 1.5, len(self.looks)))

    def category(self, name: str, names: Sequence[str]) -> Array:
        """One of the names, by shares."""
        bounds = np.cumsum(PARAMETERS[name], axis=1)[self.looks, :-1]
        position = (self.rng.random(len(self.looks))[:, None] > bounds).sum(axis=1)
        chosen: Array = np.array(names, dtype=object)[position]
        return chosen


PARAMETERS: Mapping[str, Floats] = _parameters()
