"""Keys in a server of several processes: made and revoked in one, they work and end in all."""

from __future__ import annotations

import time
from pathlib import Path
from types import ModuleType

import httpx
import pytest


@pytest.mark.slow
def test_a_key_works_and_ends_in_every_process(servers: ModuleType, tmp_path: Path) -> None:
    settings = {"serve.auth": "true", "serve.workers": "3"}
    with servers.running_server(tmp_path, **settings) as server:
        assert server.token_file is not None
        assert server.token_file.stat().st_mode & 0o777 == 0o600
        token = server.token_file.read_text().strip()
        made = servers.run_command(
            tmp_path, "key", "create", "ci", "--role", "read", "--server", server.url, token=token
        )
        assert made.returncode == 0, made.stderr
        secret = made.stdout.strip()
        time.sleep(1)
        # Each connection is one process's; so many reach all of them.
        clients = [httpx.Client(headers={"Authorization": f"Bearer {secret}"}) for _ in range(30)]
        reached = set()
        for client in clients:
            answer = client.get(f"{server.url}/health")
            assert answer.status_code == 200
            reached.add(answer.json()["gateway"])
        assert len(reached) > 1
        assert servers.run_command(tmp_path, "key", "revoke", "ci", "--server", server.url, token=token).returncode == 0
        time.sleep(1)
        assert {client.get(f"{server.url}/health").status_code for client in clients} == {401}
        # The same order on this machine's state needs no key, and running servers follow it too.
        local = servers.run_command(tmp_path, "key", "create", "local", "--role", "read")
        time.sleep(1)
        headers = {"Authorization": f"Bearer {local.stdout.strip()}"}
        assert {httpx.get(f"{server.url}/metrics", headers=headers).status_code for _ in range(10)} == {200}
        for client in clients:
            client.close()
        log = server.log()
        assert '"key":"ci"' in log
        assert secret not in log
        assert token not in log
