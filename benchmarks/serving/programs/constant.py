"""The ceiling: the ASGI server that Homeostat runs on, reading each request and answering a constant: PORT.

The constant is as long as Homeostat's own reply.
"""

from __future__ import annotations

import sys
from typing import Any

import uvicorn

CONTENT = (
    b'{"prediction":"1","probability":0.25,"status":"success","prediction_id":"019aa58f-35c1-7d38-b0a5-3a2e5e1d7c11",'
    b'"model":"bench","version":1,"arm":"control","route":1}'
)
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(CONTENT)).encode())],
}
BODY = {"type": "http.response.body", "body": CONTENT}


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001 (what ASGI calls with)
    while (await receive()).get("more_body"):
        pass
    await send(START)
    await send(BODY)


uvicorn.run(
    app, port=int(sys.argv[1]), loop="uvloop", http="httptools", lifespan="off", access_log=False, log_level="warning"
)
