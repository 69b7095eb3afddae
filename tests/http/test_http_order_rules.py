"""One rule for orders and labels, however they come in: a reason in words, and a word about classes nobody knows."""

from __future__ import annotations

from typing import Any

import pytest

from homeostat.errors import InvalidInput
from homeostat.records import Stage

API = "/api/v1/models/spam"


def test_an_order_needs_a_reason_in_words_over_http_and_in_process(refuses: Any, app: Any) -> None:
    control = app.control
    training = app.tables["spam"].to_csv(index=False).encode()
    for blank, code in (("", "invalid_request"), (" ", "invalid_input"), ("\u2003", "invalid_input")):
        for path, body in (
            ("versions/2/stage", {"stage": "testing"}),
            ("rollback", {}),
            ("rollouts", {"version": 2}),
            ("rollouts/abort", {}),
            ("retrain", {}),
        ):
            refuses(400, code, "POST", f"{API}/{path}", {**body, "reason": blank})
        form = [("training", "a.csv", training), ("target", None, b"spam"), ("reason", None, blank.encode())]
        refuses(400, "invalid_input", "FORM", f"{API}/versions", form)
        for order in (
            lambda reason: control.move("spam", 2, Stage.TESTING, actor="ann", reason=reason),
            lambda reason: control.roll_back("spam", to=None, actor="ann", reason=reason),
            lambda reason: control.start_rollout("spam", 2, actor="ann", reason=reason),
            lambda reason: control.abort("spam", actor="ann", reason=reason),
            lambda reason: control.retrain("spam", actor="ann", reason=reason),
            lambda reason: control.register("spam", None, actor="ann", reason=reason),
        ):
            with pytest.raises(InvalidInput, match="reason in words"):
                order(blank)


def test_the_production_version_can_not_be_archived(refuses: Any) -> None:
    answer = refuses(409, "conflict", "POST", f"{API}/versions/1/stage", {"stage": "archived"})
    assert "Promote another version first" in answer.json["error"]


def test_labels_of_a_class_that_production_does_not_know_are_kept_and_counted(used: Any) -> None:
    def labelled(model: str, *values: Any) -> Any:
        labels = [{"prediction_id": f"{model}-{place}", "label": value} for place, value in enumerate(values)]
        answer = used.post("/api/v1/labels", {"model": model, "labels": labels})
        assert answer.status == 200, answer.content
        return answer.json

    assert labelled("spam", "yes", "no", "yse", "yse") == {
        "model": "spam", "accepted": 4, "unmatched": 4, "unknown_classes": 2,
    }  # fmt: skip
    assert set(used.labels("spam").values()) == {"yes", "no", "yse"}
    assert labelled("loan", True, False, "true", "maybe")["unknown_classes"] == 1
    assert labelled("price", 3, 4.5)["unknown_classes"] == 0
    # There is no production version to know any.
    assert labelled("drafts", "perhaps")["unknown_classes"] == 0
    table = b"prediction_id,label\na,yes\nb,unheard\n"
    answer = used.post("/api/v1/labels?model=spam", table, headers={"content-type": "text/csv"})
    assert answer.json["unknown_classes"] == 1
