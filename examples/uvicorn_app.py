"""An ASGI app without a framework: every worker of the leader pod is a leader.

On a laptop, set ELECTOR_THREAD_WHEN_UNCONFIGURED=lead first: there is no elector to ask.

uvicorn --app-dir examples --workers 2 uvicorn_app:app
"""

import json
import os
from typing import Any

from wsgi_app import elector

from elector_thread.integrations.uvicorn import steps_down


async def application(scope: dict[str, Any], _receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    body = json.dumps({"pid": os.getpid(), **elector.status().as_dict()}).encode()
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


app = steps_down(application)
