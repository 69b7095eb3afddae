"""A Python class from the command line to a real server: served under load, refused without the setting."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from types import ModuleType

import httpx
import numpy as np
import pandas as pd
import pytest

pytestmark = pytest.mark.slow

SOURCE = """
import numpy as np
import scale

class Rules:
    def predict(self, columns):
        if (columns["a"] > 1e6).any():
            raise ValueError("too large")
        return columns["a"] * scale.FACTOR
"""
REQUESTS = 400


def test_a_class_goes_from_the_command_line_to_a_server_and_answers_callers_at_once(
    servers: ModuleType, tmp_path: Path
) -> None:
    values = np.random.default_rng(1).normal(size=150)
    pd.DataFrame({"a": values, "y": 3 * values}).to_csv(tmp_path / "training.csv", index=False)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "rules.py").write_text(SOURCE)
    (tmp_path / "own" / "scale.py").write_text("FACTOR = 3.0\n")
    # What lies where a server is started is not what is imported.
    (tmp_path / "scale.py").write_text("FACTOR = -1.0\n")
    closed = servers.clean_environment(tmp_path, serve__port="0")
    allowed = servers.clean_environment(tmp_path, serve__port="0", serve__allow_python="true")

    def types(*arguments: str) -> None:
        done = subprocess.run(
            [*servers.COMMAND, *arguments], cwd=tmp_path, env=allowed, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr

    types(
        "model",
        "register",
        "ruled",
        "training.csv",
        "--target",
        "y",
        "--python",
        "rules:Rules",
        "--python-files",
        "own",
        "--to",
        "staging",
    )
    types("model", "promote", "ruled", "1")

    server = servers.RunningServer(tmp_path, ("--workers", "2"), allowed).start()
    try:
        server.wait_ready()

        async def all_at_once() -> list[httpx.Response]:
            limits = httpx.Limits(max_connections=16)
            async with httpx.AsyncClient(base_url=server.url, timeout=120, limits=limits) as client:
                asked = [
                    client.post("/models/ruled/predict", json={"features": {"a": place if place % 10 else 1e7}})
                    for place in range(REQUESTS)
                ]
                return list(await asyncio.gather(*asked))

        answers = asyncio.run(all_at_once())
        for place, answer in enumerate(answers):
            if place % 10:
                assert answer.json()["prediction"] == 3.0 * place, answer.text
            else:
                assert (answer.status_code, answer.json()["code"]) == (500, "scoring_failed")
        written = httpx.get(server.url + "/metrics", timeout=120).text
        assert f'model_infer_rows_total{{model="ruled",version="1"}} {REQUESTS * 9 // 10}.0' in written
    finally:
        assert server.stop() == 0

    refusing = servers.RunningServer(tmp_path, (), closed).start()
    try:
        refused = refusing.post("/models/ruled/predict", {"features": {"a": 1.0}})
        assert (refused.status_code, refused.json()["code"]) == (409, "python_not_allowed")
        assert "HOMEOSTAT_SERVE__ALLOW_PYTHON" in refused.json()["error"]
        assert "serve.allow_python" in refusing.log()
    finally:
        assert refusing.stop() == 0
