"""What the sidecar answers, recorded from its two HTTP handlers, built with Go 1.19.

The Date is replaced by X; each stream is shown up to its first event.
"""

RESULT = b'{"name":"pod-b","last_update":"2026-11-23T03:18:53Z"}'

# (request, answer, the connection afterwards)
ANSWERS = [
    (
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        (
            b"HTTP/1.1 200 OK\r\n"
            b"Cache-Control: no-cache\r\n"
            b"Content-Type: application/json\r\n"
            b"Date: X\r\n"
            b"Content-Length: 53\r\n"
            b"\r\n"
            b'{"name":"pod-b","last_update":"2026-11-23T03:18:53Z"}'
        ),
        "open",
    ),
    (
        (b"GET /sse HTTP/1.1\r\nHost: x\r\n\r\n"),
        (
            b"HTTP/1.1 200 OK\r\n"
            b"Cache-Control: no-cache\r\n"
            b"Connection: keep-alive\r\n"
            b"Content-Type: text/event-stream\r\n"
            b"Date: X\r\n"
            b"Transfer-Encoding: chunked\r\n"
            b"\r\n"
            b"3d\r\n"
            b'data: {"name":"pod-b","last_update":"2026-11-23T03:18:53Z"}\n\n\r\n'
        ),
        "open",
    ),
    (
        (b"GET / HTTP/1.0\r\n\r\n"),
        (
            b"HTTP/1.0 200 OK\r\n"
            b"Cache-Control: no-cache\r\n"
            b"Content-Type: application/json\r\n"
            b"Date: X\r\n"
            b"Content-Length: 53\r\n"
            b"\r\n"
            b'{"name":"pod-b","last_update":"2026-11-23T03:18:53Z"}'
        ),
        "closed",
    ),
    (
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
        (
            b"HTTP/1.0 200 OK\r\n"
            b"Cache-Control: no-cache\r\n"
            b"Content-Type: application/json\r\n"
            b"Date: X\r\n"
            b"Content-Length: 53\r\n"
            b"Connection: keep-alive\r\n"
            b"\r\n"
            b'{"name":"pod-b","last_update":"2026-11-23T03:18:53Z"}'
        ),
        "open",
    ),
    (
        (b"GET /sse HTTP/1.0\r\n\r\n"),
        (
            b"HTTP/1.0 200 OK\r\n"
            b"Cache-Control: no-cache\r\n"
            b"Content-Type: text/event-stream\r\n"
            b"Date: X\r\n"
            b"\r\n"
            b'data: {"name":"pod-b","last_update":"2026-11-23T03:18:53Z"}\n\n'
        ),
        "open",
    ),
    (
        (b"GET /sse HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
        (
            b"HTTP/1.0 200 OK\r\n"
            b"Cache-Control: no-cache\r\n"
            b"Content-Type: text/event-stream\r\n"
            b"Date: X\r\n"
            b"\r\n"
            b'data: {"name":"pod-b","last_update":"2026-11-23T03:18:53Z"}\n\n'
        ),
        "open",
    ),
    (
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
        (
            b"HTTP/1.1 200 OK\r\n"
            b"Cache-Control: no-cache\r\n"
            b"Content-Type: application/json\r\n"
            b"Date: X\r\n"
            b"Content-Length: 53\r\n"
            b"Connection: close\r\n"
            b"\r\n"
            b'{"name":"pod-b","last_update":"2026-11-23T03:18:53Z"}'
        ),
        "closed",
    ),
    (
        (b"GET /sse HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
        (
            b"HTTP/1.1 200 OK\r\n"
            b"Cache-Control: no-cache\r\n"
            b"Content-Type: text/event-stream\r\n"
            b"Date: X\r\n"
            b"Connection: close\r\n"
            b"Transfer-Encoding: chunked\r\n"
            b"\r\n"
            b"3d\r\n"
            b'data: {"name":"pod-b","last_update":"2026-11-23T03:18:53Z"}\n\n\r\n'
        ),
        "open",
    ),
    (
        (b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"),
        (
            b"HTTP/1.1 200 OK\r\n"
            b"Cache-Control: no-cache\r\n"
            b"Content-Type: application/json\r\n"
            b"Date: X\r\n"
            b"Content-Length: 53\r\n"
            b"\r\n"
        ),
        "open",
    ),
    (
        (b"HEAD /sse HTTP/1.1\r\nHost: x\r\n\r\n"),
        (
            b"HTTP/1.1 200 OK\r\n"
            b"Cache-Control: no-cache\r\n"
            b"Connection: keep-alive\r\n"
            b"Content-Type: text/event-stream\r\n"
            b"Date: X\r\n"
            b"\r\n"
        ),
        "open",
    ),
    (
        (b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"),
        (
            b"HTTP/1.1 200 OK\r\n"
            b"Cache-Control: no-cache\r\n"
            b"Content-Type: application/json\r\n"
            b"Date: X\r\n"
            b"Content-Length: 53\r\n"
            b"\r\n"
            b'{"name":"pod-b","last_update":"2026-11-23T03:18:53Z"}'
        ),
        "open",
    ),
    (
        (b"GET /sse/ HTTP/1.1\r\nHost: x\r\n\r\n"),
        (
            b"HTTP/1.1 200 OK\r\n"
            b"Cache-Control: no-cache\r\n"
            b"Content-Type: application/json\r\n"
            b"Date: X\r\n"
            b"Content-Length: 53\r\n"
            b"\r\n"
            b'{"name":"pod-b","last_update":"2026-11-23T03:18:53Z"}'
        ),
        "open",
    ),
    (
        (b"GET /sse?a=b HTTP/1.1\r\nHost: x\r\n\r\n"),
        (
            b"HTTP/1.1 200 OK\r\n"
            b"Cache-Control: no-cache\r\n"
            b"Connection: keep-alive\r\n"
            b"Content-Type: text/event-stream\r\n"
            b"Date: X\r\n"
            b"Transfer-Encoding: chunked\r\n"
            b"\r\n"
            b"3d\r\n"
            b'data: {"name":"pod-b","last_update":"2026-11-23T03:18:53Z"}\n\n\r\n'
        ),
        "open",
    ),
    (
        (b"OPTIONS / HTTP/1.1\r\nHost: x\r\n\r\n"),
        (
            b"HTTP/1.1 200 OK\r\n"
            b"Cache-Control: no-cache\r\n"
            b"Content-Type: application/json\r\n"
            b"Date: X\r\n"
            b"Content-Length: 53\r\n"
            b"\r\n"
            b'{"name":"pod-b","last_update":"2026-11-23T03:18:53Z"}'
        ),
        "open",
    ),
    (
        (b"GET http://evil/sse HTTP/1.1\r\nHost: x\r\n\r\n"),
        (
            b"HTTP/1.1 200 OK\r\n"
            b"Cache-Control: no-cache\r\n"
            b"Connection: keep-alive\r\n"
            b"Content-Type: text/event-stream\r\n"
            b"Date: X\r\n"
            b"Transfer-Encoding: chunked\r\n"
            b"\r\n"
            b"3d\r\n"
            b'data: {"name":"pod-b","last_update":"2026-11-23T03:18:53Z"}\n\n\r\n'
        ),
        "open",
    ),
    (
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /sse HTTP/1.1\r\nHost: x\r\n\r\n"),
        (
            b"HTTP/1.1 200 OK\r\n"
            b"Cache-Control: no-cache\r\n"
            b"Content-Type: application/json\r\n"
            b"Date: X\r\n"
            b"Content-Length: 53\r\n"
            b"\r\n"
            b'{"name":"pod-b","last_update":"2026-11-23T03:18:53Z"}HTTP/1.1 200 OK\r\n'
            b"Cache-Control: no-cache\r\n"
            b"Connection: keep-alive\r\n"
            b"Content-Type: text/event-stream\r\n"
            b"Date: X\r\n"
            b"Transfer-Encoding: chunked\r\n"
            b"\r\n"
            b"3d\r\n"
            b'data: {"name":"pod-b","last_update":"2026-11-23T03:18:53Z"}\n\n\r\n'
        ),
        "open",
    ),
]
