"""Scripts in names, labels and texts: pages and reports show them as text (MLflow CVE-2024-27132)."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from homeostat import compare
from homeostat.ports import Registration
from homeostat.records import Finding, Severity, Stage, Verdict

WORD = "mischief"
# Each breaks out of another place: text, attributes in both quotes, scripts, comments, styles, addresses.
PAYLOADS = [
    f"<{WORD}>",
    f"</title></script></style></svg><{WORD} {WORD}=1>",
    f'"><{WORD} {WORD}=1 x="',
    f"'><{WORD} {WORD}=1 x='",
    f'" on{WORD}=alert(1) {WORD}="',
    f"' on{WORD}=alert(1) {WORD}='",
    f"--><{WORD}>",
    f"]]><{WORD}>",
    f"javascript:{WORD}",
    f"{{{{ {WORD} }}}}{{% {WORD} %}}",
    f"&lt;{WORD}&gt;",
    f"\u2028<{WORD}\u2029>",
    f"<svg/onload={WORD}()>",
]


class Parsed(HTMLParser):
    """Everything on a page that is more than text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.bad: list[str] = []
        self.texts = 0
        self._within: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if WORD in tag or any(WORD in name or name.startswith("on") for name, _ in attrs):
            self.bad.append(self.get_starttag_text() or tag)
        for name, value in attrs:
            if name in ("href", "src", "action", "style") and f"javascript:{WORD}" in (value or "").lower():
                self.bad.append(f"{tag} {name}={value}")
        if tag in ("script", "style"):
            self._within.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._within and tag == self._within[-1]:
            self._within.pop()

    def handle_data(self, data: str) -> None:
        if WORD in data:
            self.texts += 1
            if self._within:
                self.bad.append(data[:200])

    def handle_comment(self, data: str) -> None:
        if WORD in data:
            self.bad.append(data)

    def handle_decl(self, decl: str) -> None:
        if WORD in decl:
            self.bad.append(decl)


def check_page(content: str) -> int:
    """How often the word stands in the text of a page; it may stand nowhere else."""
    parsed = Parsed()
    parsed.feed(content)
    parsed.close()
    assert parsed.bad == []
    return parsed.texts


@pytest.fixture(scope="module")
def hostile(small_servers: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server whose model has hostile features, classes, descriptions, reasons, actors, tags and findings."""
    folder = tmp_path_factory.mktemp("hostile")
    rng = np.random.default_rng(5)
    table = pd.DataFrame({f"{payload} {place}": rng.normal(size=240) for place, payload in enumerate(PAYLOADS)})
    table["kind"] = rng.choice(PAYLOADS, 240)
    table["answer"] = np.where(table.iloc[:, 0] > 0, PAYLOADS[1], PAYLOADS[2])
    training = folder / "rows.parquet"
    table.to_parquet(training)
    small = small_servers.open_server(folder, register=False)
    for server in small_servers.closed(small):
        text = " ".join(PAYLOADS)
        for _ in range(2):
            version = server.control.register(
                "shop",
                Registration(training=training, target="answer", tags={text: text}, description=text),
                actor=text[:200],
                reason=text,
            )
        for stage in (Stage.STAGING, Stage.PRODUCTION):
            server.control.move("shop", 1, stage, actor=text[:200], reason=text)
        server.control.move("shop", version.number, Stage.STAGING, actor=text[:200], reason=text)
        server.control.start_rollout("shop", version.number, actor=text[:200], reason=text)
        row = {name: value for name, value in table.iloc[0].items() if name != "answer"}
        for place, payload in enumerate(PAYLOADS):
            body = {"features": row, "entity": payload, "prediction_id": f"{payload}{place}"}
            assert server.post("/models/shop/predict", body).status == 200
            label = {"prediction_id": f"{payload}{place}", "label": PAYLOADS[1]}
            answer = server.post(
                "/api/v1/labels", {"model": "shop", "labels": [label], "source": payload.strip()[:100]}
            )
            assert answer.status in (200, 400)
        raise_alert(server, text)
        server.server.follower.follow()
        server.server.system.tick()
        yield server


def raise_alert(server: Any, text: str) -> None:
    system = server.server.system
    finding = Finding(
        id="hostile",
        model="shop",
        check="drift",
        at=system.clock.now(),
        verdict=Verdict.HARMED,
        severity=Severity.CRITICAL,
        message=text,
        version=1,
        evidence={text: text},
    )
    with system.store.begin() as transaction:
        transaction.insert(finding)
    system.alerts.take([finding], system.policy("shop").alerts)


@pytest.mark.parametrize("target", ["/", "/models/shop"])
def test_pages_show_hostile_names_as_text(hostile: Any, target: str) -> None:
    answer = hostile.get(target)
    assert (answer.status, answer.header("content-type")) == (200, "text/html; charset=utf-8")
    assert check_page(answer.content.decode()) > 0


@pytest.mark.parametrize("payload", PAYLOADS)
def test_pages_of_models_that_are_not_there_repeat_nothing(hostile: Any, payload: str) -> None:
    from urllib.parse import quote

    answer = hostile.get(f"/models/{quote(payload, safe='')}")
    assert answer.status in (400, 404)
    assert WORD not in answer.content.decode()


def test_json_is_never_taken_for_a_page(hostile: Any) -> None:
    for target in ("/api/v1/models", "/api/v1/models/shop/versions", "/api/v1/alerts", "/v2/models/shop", "/nothing"):
        answer = hostile.get(target)
        assert answer.header("content-type") == "application/json"
        assert answer.header("x-content-type-options") == "nosniff"


def test_labels_of_metrics_break_out_of_no_line(hostile: Any) -> None:
    for line in hostile.get("/metrics").content.decode().splitlines():
        assert line.startswith("#") or line.rpartition(" ")[2].lower() not in ("", "nan"), line


def test_a_report_shows_hostile_names_as_text(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    columns: dict[str, Any] = {f"{payload} {place}": rng.normal(size=300) for place, payload in enumerate(PAYLOADS)}
    columns["kind"] = rng.choice(PAYLOADS, 300)
    reference = pd.DataFrame(columns)
    current = reference.copy()
    current.iloc[:, :-1] += 2
    current["kind"] = rng.choice([*PAYLOADS[:2], f"<{WORD} unseen>"], 300)
    report = compare(reference, current)
    report.save_html(tmp_path / "report.html")
    assert check_page((tmp_path / "report.html").read_text(encoding="utf-8")) > len(PAYLOADS)
