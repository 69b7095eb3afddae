"""Keys in a server of several processes: made and revoked in one, they work and end in all."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import httpx
import pytest


@pytest.mark.slow
def test_a_key_works_and_ends_in_every_process(servers: ModuleType, loads: ModuleType, tmp_path: Path) -> None:
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
        # Each connection is one process's; so many reach all of them.
        clients = [httpx.Client(headers={"Authorization": f"Bearer {secret}"}, timeout=120) for _ in range(30)]

        def statuses() -> set[int]:
            return {client.get(f"{server.url}/health").status_code for client in clients}

        loads.wait_until("every process knows the key", lambda: statuses() == {200})
        assert len({client.get(f"{server.url}/health").json()["gateway"] for client in clients}) > 1
        assert servers.run_command(tmp_path, "key", "revoke", "ci", "--server", server.url, token=token).returncode == 0
        loads.wait_until("no process takes the key", lambda: statuses() == {401})
        # The same order on this machine's state needs no key, and running servers follow it too.
        local = servers.run_command(tmp_path, "key", "create", "local", "--role", "read")
        headers = {"Authorization": f"Bearer {local.stdout.strip()}"}

        def others() -> set[int]:
            return {httpx.get(f"{server.url}/metrics", headers=headers, timeout=120).status_code for _ in range(10)}

        loads.wait_until("every process knows the key that was made here", lambda: others() == {200})
        for client in clients:
            client.close()
        log = server.log()
        assert '"key":"ci"' in log
        assert secret not in log
        assert token not in log
