"""Findings about the prediction log of this process: that it fails, and that it is well again."""

from __future__ import annotations

from homeostat.records import Finding, Model, Severity, Verdict
from homeostat.wiring.system import System


def tell_of_log(system: System, trouble: str) -> None:
    """Make a finding of each model out of a prediction log that fails (`trouble` says why), or is well again."""
    now = system.clock.now()
    with system.store.read() as transaction:
        models = [model.name for model in transaction.list(Model)]
    for model in models:
        finding = Finding(
            id=f"{model}:log:{now.isoformat()}",
            model=model,
            check="log",
            at=now,
            verdict=Verdict.HARMED if trouble else Verdict.HEALTHY,
            severity=Severity.CRITICAL if trouble else Severity.NONE,
            message=trouble or "The prediction log takes rows again.",
            evidence={"policy": system.settings.log.policy},
        )
        with system.store.begin() as transaction:
            if transaction.get(Finding, finding.id) is None:
                transaction.insert(finding)
        system.alerts.take([finding], system.policy(model).alerts)
