"""Hostile facts, odd ones, and many models: what is shown stays words, small and drawn."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from random import Random

import msgspec
import pytest

from homeostat.dashboard.pages import render_error, render_model, render_overview
from homeostat.records import Verdict
from homeostat.reports.format import percent

LARGEST = 200_000
NAMES = ("healthy", "degraded", "unserved", "unlabelled", "regression")


# Hostile facts
def test_hostile_words_stay_words(pages, samples, read):
    reader = read(pages["crowded"])
    tags = [tag for tag, _ in reader.tags]
    assert "img" not in tags
    assert tags.count("script") == 3
    assert not [name for _, attributes in reader.tags for name in attributes if name.startswith("on")]
    assert "</script><script>alert('x')</script>" in reader.text
    assert "{{7*7}}" in reader.text
    assert "\u202e" not in pages["crowded"]
    assert "\x00" not in pages["crowded"]
    for block in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', pages["crowded"], re.S):
        assert "<" not in block
        json.loads(block)


def test_long_lists_are_cut_and_say_so(pages, read):
    reader = read(pages["crowded"])
    assert "52 milder or older ones are listed by homeostat alert list" in reader.section("alerts")
    assert "32 more are not listed." in reader.section("serving")
    assert "960 older ones are not shown." in reader.section("decisions")
    assert "32 earlier decisions" in reader.section("decisions")
    assert "The 12 of 500 features with the largest effect are drawn." in reader.section("drift")
    assert "485 more lie nearer to the reference." in reader.section("drift")
    assert "47 older ones are listed" in reader.section("versions")


@pytest.mark.parametrize("letter", ["<", "&", '"', "\N{FIRE}", "\ud800", "字"])
def test_no_letter_makes_a_page_too_large(samples, letter):
    facts = samples.crowded(letter * 3000, features=60)
    # Every look at another version, and against another reference: no line is longer than a point.
    restless = [
        msgspec.structs.replace(one, version=index % 2 + 1, threshold=0.9 + 0.0001 * (index % 97))
        for index, one in enumerate(facts.findings)
    ]
    assert len(render_model(samples.page(replace(facts, findings=restless))).encode()) < LARGEST
    assert len(render_model(samples.page(facts)).encode()) < LARGEST


def test_a_page_of_fifty_hostile_models_is_small(samples, read):
    models = [samples.crowded(f"{samples.HOSTILE * 5}{index}", features=8) for index in range(50)]
    page = render_overview(samples.page(*models))
    assert len(page.encode()) < LARGEST
    reader = read(page)
    assert "50 of 50 models need attention." in reader.text
    assert sum(tag == "h3" for tag, _ in reader.tags) == 30
    assert len([link for link in reader.values("href") if link.startswith("/models/")]) == 50
    assert "img" not in [tag for tag, _ in reader.tags]


@pytest.mark.parametrize("seed", range(40))
def test_whatever_findings_there_are_the_pages_are_drawn(samples, read, seed):
    random = Random(seed)  # noqa: S311 - cases, not secrets
    base = getattr(samples, random.choice(NAMES))()
    kept = random.sample(base.findings, min(len(base.findings), random.choice([0, 1, 2, 5, 40])))
    odd = [
        msgspec.structs.replace(
            one,
            verdict=random.choice(list(Verdict)),
            statistic=random.choice([one.statistic, None, math.nan, math.inf, -1.0, 0.0]),
            threshold=random.choice([one.threshold, None, math.nan]),
            window=random.choice([one.window, None]),
            evidence=random.choice([one.evidence, {}]),
        )
        for one in kept
    ]
    facts = replace(base, findings=odd, policy=None, versions=[], experiments=[])
    for page in (render_model(samples.page(facts)), render_overview(samples.page(facts, samples.healthy("other")))):
        reader = read(page)
        assert reader.open == []
        drawn = [value for name in ("d", "x", "y", "cx", "cy", "style") for value in reader.values(name)]
        assert not [value for value in drawn if "nan" in value or "inf" in value]


# The page of all models
def test_no_model_leads_to_the_next_step(pages, read):
    text = read(pages["none"]).text
    assert "No model is registered yet." in text
    assert "homeostat init messages.csv --target is_spam" in text
    assert "homeostat model register spam fitted.skops messages.csv --target is_spam" in text


def test_one_model_is_shown_whole(pages, samples):
    assert render_overview(samples.page(samples.healthy())) == pages["healthy"]


def test_a_card_holds_the_essentials_and_the_worst_comes_first(pages, read):
    reader = read(pages["many"])
    text = reader.text
    assert "3 of 5 models need attention." in text
    assert "1 healthy 1 not known" in text
    links = [link for link in reader.values("href") if link.startswith("/models/")]
    assert links == ["/models/phishing", "/models/price", "/models/silent", "/models/draft", "/models/churn"]
    card = re.search(r'<li class="card k-harmed">.*?Last:.*?</li>', pages["many"], re.S)[0]
    words = read(card).text
    assert "degraded phishing version 1, since 1 Jul 2025, 12:04 3 months ago" in words
    assert f"{percent(0.889)} Accuracy, 1 day, 412 labelled rows" in words
    assert "2 of 4 features drifted" in words
    assert "2 open alerts, the worst critical" in words
    assert f"rollout: v2 in A/B {percent(0.5, 0)}" in words
    assert "Last: v2 rollout step, 24 min ago" in words
    assert 'class="line s-healed"' in card


def test_models_are_linked_by_their_whole_name(samples, read):
    page = render_overview(samples.page(samples.healthy("a/b ?#"), samples.healthy("ü")))
    links = [link for link in read(page).values("href") if link.startswith("/models/")]
    assert links == ["/models/a%2Fb%20%3F%23", "/models/%C3%BC"]


def test_an_error_page_says_what_went_wrong(samples, read):
    page = render_error(f"No {samples.HOSTILE}", samples.HOSTILE * 100)
    reader = read(page)
    assert "img" not in [tag for tag, _ in reader.tags]
    assert "script" not in [tag for tag, _ in reader.tags]
    assert "/" in reader.values("href")
    assert len(page.encode()) < 60_000
