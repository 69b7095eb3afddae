"""Statistics of versions are those of the counters, however requests were split, failed or shared between processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from homeostat.http.metrics import ServerMetrics
from homeostat.http.metrics.statistics import VersionCounts, counts_by_version

COUNTED = """
import sys
from homeostat.http.metrics import ServerMetrics
from homeostat.http.metrics.statistics import counts_by_version
metrics = ServerMetrics()
for _ in range(int(sys.argv[1])):
    metrics.observe_request("m", {3: 2}, 200, 0.5)
print(counts_by_version(metrics.collect())["m", 3].executions)
"""


def test_requests_are_counted_by_version_and_outcome() -> None:
    metrics = ServerMetrics()
    assert counts_by_version(metrics.collect()) == {}
    metrics.observe_requests("m", {3: 4}, 200, (0.25, 0.25, 0.5, 1.0))
    metrics.observe_request("m", {3: 0}, 500, 2.0)
    metrics.observe_request("m", {3: 5, 4: 7}, 200, 9.0)
    metrics.observe_request("m", {}, 404, 1.0)
    metrics.observe_request("made-up", {9: 0}, 404, 1.0)
    for _ in range(2):
        found = counts_by_version(metrics.collect())
        assert set(found) == {("m", 3), ("m", 4)}
        last = found["m", 3].last
        assert last > 0
        assert found["m", 3] == VersionCounts(
            rows=9, executions=2, succeeded=4, succeeded_seconds=2.0, failed=1, failed_seconds=2.0, last=last
        )
        assert found["m", 4] == VersionCounts(rows=7, executions=1, last=found["m", 4].last)


def test_processes_that_share_a_port_share_their_statistics(tmp_path: Path) -> None:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    said = [
        subprocess.run([sys.executable, "-c", COUNTED, times], env=environment, capture_output=True, check=True).stdout
        for times in ("2", "3")
    ]
    assert said == [b"2\n", b"5\n"]
