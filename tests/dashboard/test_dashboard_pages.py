"""The pages say what the facts are, in words, whatever the facts; they are small and nothing foreign runs in them."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import math
import re
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from homeostat.dashboard.pages import render_model
from homeostat.records import AlertState, RolloutState, Severity, Verdict
from homeostat.reports.format import percent

LARGEST = 200_000
NAMES = ("healthy", "degraded", "unserved", "unlabelled", "regression", "crowded")


@pytest.mark.parametrize("name", [*NAMES, "none", "many", "error"])
def test_a_page_is_well_formed_small_and_needs_nothing_else(pages, read, name):
    page = pages[name]
    reader = read(page)
    assert reader.open == []
    ids = reader.values("id")
    assert len(ids) == len(set(ids))
    for link in reader.values("src", "href", "srcset", "action", "data", "xlink:href"):
        assert re.match(r"(data:image/svg|#[a-z_-]+$|/$|/models/[^/]*$)", link), link
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page)
    assert "@import" not in page
    assert len(page.encode()) < LARGEST
    drawn = [value for key in ("d", "x", "y", "cx", "cy", "style") for value in reader.values(key)]
    assert not [value for value in drawn if "nan" in value.lower() or "inf" in value.lower()]


def test_only_the_pages_own_script_may_run(pages):
    for page in pages.values():
        policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
        assert "default-src 'none'" in policy
        assert "connect-src 'self'" in policy
        allowed = re.search(r"script-src 'sha256-([^']+)'", policy)[1]
        scripts = re.findall(r"<script>(.*?)</script>", page, re.S)
        for script in scripts:
            assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() == allowed


def test_every_drawing_and_table_says_what_it_is(pages):
    for name in ("degraded", "healthy", "many"):
        for drawing in re.findall(r"<svg xmlns.*?</svg>", pages[name], re.S):
            title, description = re.search(r'aria-labelledby="(\S+) (\S+)"', drawing).groups()
            assert re.search(rf'<title id="{title}">[^<]+</title><desc id="{description}">[^<]+</desc>', drawing)
        for table in re.findall(r"<table.*?</table>", pages[name], re.S):
            assert re.search(r"<caption[^>]*>[^<]+</caption>", table)
            assert '<th scope="col"' in table


def test_headings_go_down_one_level_at_a_time(pages, read):
    for page in pages.values():
        levels = [int(tag[1]) for tag, _ in read(page).tags if re.fullmatch(r"h[1-6]", tag)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


# What the page of a model says
def test_the_headline_names_the_fall_and_the_reference(pages, read):
    reader = read(pages["degraded"])
    heading = (
        f"phishing is degraded: accuracy {percent(0.889)} over the last day, and {percent(0.951)} when it was made."
    )
    assert heading in reader.text
    assert "2 open alerts, the worst critical" in reader.text
    assert "412 labelled rows, the last day" in reader.text


def test_what_is_served_is_told_with_its_weights_and_gateways(pages, read):
    page = read(pages["degraded"])
    words = page.section("serving")
    assert "Version 1 is in production since 1 Jul 2025, 12:04 3 months ago" in words
    assert f"v1 answers {percent(0.5, 0)} of the traffic (random forest)" in words
    assert f"v2 answers {percent(0.5, 0)} of the traffic as candidate" in words
    assert "v3 shadows: it scores every row and answers none" in words
    assert "1 of 3 gateways serve it." in words
    assert "still serves route 2; the newest is 3" in words
    assert "silent: it serves what it last had, or nothing" in words
    assert page.values("style").count("flex-grow:0.5") == 2


def test_alerts_are_told_with_severity_count_and_state(pages, read):
    words = read(pages["degraded"]).section("alerts")
    assert words.index("critical performance open") < words.index("medium drift acknowledged by Ann")
    assert "Open since 27 Sep 2025, 12:04 2 days ago. Seen 17 times, last 5 min ago." in words
    assert read(pages["healthy"]).section("alerts") == "Open alerts No alert is open."


def test_the_rollout_marks_its_step_and_holds_the_evidence_against_its_thresholds(pages, samples, read):
    page = read(pages["degraded"])
    words = page.section("rollout")
    assert "Rollout of version 2 over version 1" in words
    current = re.search(r'<li class="t-now" aria-current="step"><b>([^<]+)</b>', pages["degraded"])[1]
    assert current == f"A/B {percent(0.5, 0)}"
    assert pages["degraded"].count('class="t-done"') == 2
    assert "rows served 12 of 20" in words
    assert "evidence 9.5 of 20" in words
    assert "On 312 labelled pairs, version 2 was right alone on 31 and version 1 on 12." in words
    assert "better: 9.5 of the 20 that promotes it" in words
    assert "worse: 0.031 of the 125 that takes it back" in words
    assert "v2 over v1" in words
    assert "rolled back" in words
    left, width = map(float, re.search(r'b-better" style="left:([\d.]+)%;width:([\d.]+)%', pages["degraded"]).groups())
    low, high = math.log(0.01), 1.25 * math.log(20)
    assert left == pytest.approx(100 * -low / (high - low), abs=0.01)
    assert width == pytest.approx(100 * math.log(9.5) / (high - low), abs=0.02)
    assert "b-against" in pages["degraded"], "evidence below 1 speaks against, and is no bar of its colour"


def test_a_paused_rollout_waits_for_people(samples, read):
    words = read(render_model(samples.page(samples.degraded(state=RolloutState.PAUSED)))).section("rollout")
    assert words.startswith("Rollout of version 2 over version 1 Paused, begun")
    assert "it stays in this step until it is resumed" in words


def test_errors_of_a_regression_are_told_as_errors(pages, read):
    text = read(pages["regression"]).text
    assert "price is degraded: mean absolute error 5.1 over the last day, and 4.2 when it was made." in text
    assert "Mean absolute error 3.9 against 4.6. On 312 labelled pairs, version 2 came nearer on 31" in text
    assert "lower is better" in text


def test_quality_is_drawn_with_its_reference_and_broken_where_it_was_not_judged(pages, samples):
    page = pages["degraded"]
    section = re.search(r'<section id="quality".*?</section>', page, re.S)[0]
    wide = re.search(r'<div class="wide">(.*?)</div>', section, re.S)[1]
    line = re.search(r'<path d="([^"]+)" class="line s-healed"', wide)[1]
    assert line.count("M") == 2, "the six looks without labels break the line"
    assert re.search(r'class="line s-static"', wide)
    assert ">unjudged<" in wide
    assert ">harmed<" in wide
    assert "(6 of 120), the line is broken" in section
    data = json.loads(re.search(r'id="quality-data">(.*?)</script>', section, re.S)[1])
    assert data["s"][0][0] == "1 day"
    assert data["s"][0][1][-1] == percent(0.889)
    assert data["s"][1][1][-1] == percent(0.951)
    assert data["s"][2][1][-1] == "412"
    assert "no data" in data["s"][0][1]
    rows = re.findall(r'<th scope="row">29 Sep 2025, 12:00</th>.*?</tr>', section, re.S)
    assert percent(0.889) in rows[0]
    assert "harmed" in rows[0]


def test_the_next_longer_window_is_drawn_where_days_have_no_labels(samples):
    facts = samples.healthy()
    nothing = [
        msgspec.structs.replace(one, verdict=Verdict.NO_DATA, statistic=None, threshold=None)
        for one in facts.findings
        if one.check == "performance daily"
    ]
    weeks = samples.quality("churn", [0.94] * 30, check="performance 7 days")
    page = render_model(samples.page(replace(facts, findings=[*nothing, *weeks])))
    assert "Accuracy of the last 7 days" in page
    assert f"churn is healthy: accuracy {percent(0.94)} over the last 7 days." in page


def test_a_change_of_version_is_marked_and_breaks_the_line(samples):
    facts = samples.degraded()
    promoted = samples.decision("phishing", 9, "promotion", 60, version=1, actor="ann")
    older = [
        msgspec.structs.replace(one, version=7) if one.at < promoted.at else one
        for one in facts.findings
        if one.check == "performance daily"
    ]
    page = render_model(samples.page(replace(facts, findings=older, decisions=[promoted])))
    wide = re.search(r'<section id="quality".*?<div class="wide">(.*?)</div>', page, re.S)[1]
    assert re.search(r'class="line s-healed"', wide)
    assert re.search(r'<path d="([^"]+)" class="line s-healed"', wide)[1].count("M") == 3
    assert 'class="mark m-promotion"' in wide
    assert re.search(r'<span class="number">1</span><div><b>v1 promoted</b>', page)


def test_drift_is_drawn_by_feature_and_told_in_words(pages, read):
    page = pages["degraded"]
    words = read(page).section("drift")
    assert "2 of 4 features drifted." in words
    section = re.search(r'<section id="drift".*?</section>', page, re.S)[0]
    data = json.loads(re.search(r'id="heat-data">(.*?)</script>', section, re.S)[1])
    assert [row[0] for row in data["rows"]] == ["links", "length", "weekday", "hour"]
    assert data["rows"][0][1][-1] == "0.6"
    table = re.search(r"<tbody>(.*?)</tbody>", section, re.S)[1]
    assert re.search(r"links.*?drifted, high: other values.*?0\.6.*?KS 0\.3, PSI 0\.6, adjusted p 1×10⁻⁷", table, re.S)
    assert re.search(r"weekday.*?as the reference", table, re.S)


def test_checks_say_what_they_found_on_how_many_rows(pages, read):
    words = read(pages["degraded"]).section("checks")
    assert "quality, 1 day harmed high performance daily is harmed. 412 29 Sep 2025, 12:00:00 4 min ago" in words
    assert "drift of the scores insufficient prediction is insufficient. 88" in words
    assert "quality, 7 days not looked at yet – – –" in words


def test_decisions_are_told_newest_first_with_their_figures(pages, read):
    words = read(pages["degraded"]).section("decisions")
    wanted = [
        "24 min ago v2 rollout step by homeostat",
        "step: evidence for better 34; 20 decides",
        "v2 passed its gate by homeostat",
        "promotion gate: gain 0.0745, at least 0.01 needed",
        "retraining began by homeostat",
        "trigger: performance",
        "v1 alert opened by homeostat The loss rose to 0.089",
        "performance: evidence for a rise of the loss 32,860; 19,930 decides",
        "v1 put into production by ann",
    ]
    places = [words.index(part) for part in wanted]
    assert places == sorted(places)


def test_a_retraining_under_way_is_said_until_it_ends(samples, read):
    facts = samples.healthy()
    began = samples.decision("churn", 2, "retraining", 1, rule="manual", inputs={"run": "churn-run-1"})
    ended = samples.decision("churn", 3, "rejected", 0.5, rule="promotion gate", inputs={"run": "churn-run-1"})
    assert "retraining since 29 Sep 2025" in read(render_model(samples.page(replace(facts, decisions=[began])))).text
    assert "retraining since" not in read(render_model(samples.page(replace(facts, decisions=[began, ended])))).text


def test_a_rollback_by_hand_names_the_version_it_went_to(samples, read):
    back = samples.decision("churn", 2, "rollback", 1, version=1, rule="by hand", inputs={"from": 2, "to": 1})
    words = read(render_model(samples.page(replace(samples.healthy(), decisions=[back])))).section("decisions")
    assert "rolled back to v1 by homeostat" in words


# What is not known is never healthy
def test_no_labels_are_never_healthy(samples, read):
    for verdict, words in (
        (Verdict.NO_DATA, "silent is served; how well it does is not known: no labels have come."),
        (Verdict.INSUFFICIENT, "is not known: 12 labelled rows, too few to judge."),
    ):
        reader = read(render_model(samples.page(samples.unlabelled(verdict=verdict))))
        assert words in reader.text
        assert "healthy" not in reader.text.replace("serving it", "")
        assert "none had enough labelled rows to judge" in reader.section("quality")
        assert "No look was at enough rows to judge." in reader.section("drift")


def test_a_model_without_a_version_in_production_says_what_to_do(pages, read):
    reader = read(pages["unserved"])
    assert "draft is not served: no version is in production yet." in reader.text
    assert "homeostat model promote draft 1" in reader.section("serving")
    assert reader.section("quality") == "Quality over time No look at the quality was taken yet."
    assert reader.section("decisions") == "Decisions Nothing was decided yet."
    assert "v1 random forest draft" in reader.section("versions")


def test_a_model_that_nobody_looks_at_is_not_healthy(samples, read):
    facts = samples.page(samples.healthy())
    later = replace(facts, now=facts.now + timedelta(hours=3), machine_now=None)
    assert "churn is not watched: it was last looked at 3 h ago." in read(render_model(later)).text
    assert "churn is healthy" in read(render_model(replace(later, simulated=True))).text, "that clock is moved by hand"


def test_findings_of_an_earlier_version_say_nothing_of_this_one(samples, read):
    facts = samples.healthy()
    moved = replace(facts, status=msgspec.structs.replace(facts.status, production=2))
    assert "churn is served, and was not looked at yet." in read(render_model(samples.page(moved))).text


def test_an_open_alert_is_never_plainly_healthy(samples, read):
    alert = samples.alert("churn", 1, Severity.CRITICAL, subject="integrity")
    page = read(render_model(samples.page(replace(samples.healthy(), alerts=[alert]))))
    assert "churn is healthy by its checks, but an alert is open: integrity." in page.text
    seen = msgspec.structs.replace(alert, state=AlertState.ACKNOWLEDGED, acknowledged_by="Ann")
    page = read(render_model(samples.page(replace(samples.healthy(), alerts=[seen]))))
    assert "but an alert is acknowledged: integrity." in page.text


@pytest.mark.parametrize(
    ("check", "verdict", "evidence", "words"),
    [
        (
            "drift",
            Verdict.HARMED,
            {"features": {"a": {}, "b": {}}, "drifted": ["a"]},
            "churn drifts: 1 of 2 features differ",
        ),
        ("prediction", Verdict.HARMED, {}, "churn drifts: its scores moved; accuracy"),
        ("drift", Verdict.ERROR, {}, "churn is not fully watched: the check 'drift' broke."),
        (
            "decay",
            Verdict.HARMED,
            {"loss_since": 0.089, "rows_since": 3321, "baseline": 0.076},
            "wrong on 8.9\N{NARROW NO-BREAK SPACE}% of the last 3,321 labelled rows",
        ),
        ("accuracy floor", Verdict.HARMED, {}, "is below the floor of"),
    ],
)
def test_the_headline_says_which_check_is_bad(samples, read, check, verdict, evidence, words):
    facts = samples.healthy()
    at = samples.NOW - timedelta(minutes=1)
    bad = samples.finding("churn", check, at, verdict, evidence=evidence, statistic=0.8, threshold=0.9)
    page = read(render_model(samples.page(replace(facts, findings=[*facts.findings, bad]))))
    assert words in page.text


def test_failing_and_slow_services_are_told(samples, read):
    for service, words in (
        (samples.service("churn", rate=0.034), "churn is failing: 3.4\N{NARROW NO-BREAK SPACE}% of its rows."),
        (
            msgspec.structs.replace(samples.service("churn", p95=900.0), verdict=Verdict.HARMED),
            "churn is slow: 95 % of its answers take up to 900 ms.",
        ),
    ):
        facts = samples.healthy()
        findings = [one for one in facts.findings if one.check != "service"]
        assert words in read(render_model(samples.page(replace(facts, findings=[*findings, service])))).text


def test_the_same_facts_make_the_same_page(pages, samples):
    assert render_model(samples.page(samples.degraded())) == pages["degraded"]


def test_times_are_told_exactly_and_in_words(pages):
    stamps = re.findall(r'<time datetime="([^"]+)">([^<]+)</time>', pages["degraded"])
    assert ("2025-09-27T12:04:30+00:00", "27 Sep 2025, 12:04") in stamps
    assert all(exact.endswith("+00:00") for exact, _ in stamps)
    assert "All times are UTC, as of" in pages["degraded"]


def test_simulated_times_are_said_to_be_so(samples):
    page = render_model(samples.page(samples.healthy(), simulated=True))
    assert "All times are UTC, and simulated" in page
    assert ">simulated time<" in page
