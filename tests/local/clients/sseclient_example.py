"""What users of the ``sseclient`` package write (not sseclient-py, which has the same name)."""

import json
import os
import sys

from sseclient import SSEClient

wanted = int(sys.argv[1])
for message in SSEClient(os.environ["ELECTOR_SSE_URL"]):
    print(json.loads(message.data)["name"], flush=True)
    wanted -= 1
    if wanted == 0:
        break
