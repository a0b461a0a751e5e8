"""What Go's ``net/http`` server answered, recorded with sockets, with the sidecar's two handlers.

Recorded with Go 1.19: the handlers set the headers that the elector's source sets. The
Date is replaced by X; each stream is shown up to its first event.
"""

RESULT = b'{"name":"pod-b","last_update":"2026-11-23T03:18:53Z"}'

# (request, answer, what becomes of the connection)
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
        (b"GET // HTTP/1.1\r\nHost: x\r\n\r\n"),
        (
            b"HTTP/1.1 301 Moved Permanently\r\n"
            b"Content-Type: text/html; charset=utf-8\r\n"
            b"Location: /\r\n"
            b"Date: X\r\n"
            b"Content-Length: 36\r\n"
            b"\r\n"
            b'<a href="/">Moved Permanently</a>.\n\n'
        ),
        "open",
    ),
    (
        (b"GET /a/../sse?x=1 HTTP/1.1\r\nHost: x\r\n\r\n"),
        (
            b"HTTP/1.1 301 Moved Permanently\r\n"
            b"Content-Type: text/html; charset=utf-8\r\n"
            b"Location: /sse?x=1\r\n"
            b"Date: X\r\n"
            b"Content-Length: 43\r\n"
            b"\r\n"
            b'<a href="/sse?x=1">Moved Permanently</a>.\n\n'
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
        (b"nonsense\r\n\r\n"),
        (
            b"HTTP/1.1 400 Bad Request\r\n"
            b"Content-Type: text/plain; charset=utf-8\r\n"
            b"Connection: close\r\n"
            b"\r\n"
            b"400 Bad Request"
        ),
        "closed",
    ),
    (
        (b"GET / HTTP/1.1\r\n\r\n"),
        (
            b"HTTP/1.1 400 Bad Request: missing required Host header\r\n"
            b"Content-Type: text/plain; charset=utf-8\r\n"
            b"Connection: close\r\n"
            b"\r\n"
            b"400 Bad Request: missing required Host header"
        ),
        "closed",
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
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n"),
        (
            b"HTTP/1.1 505 HTTP Version Not Supported: unsupported protocol version\r\n"
            b"Content-Type: text/plain; charset=utf-8\r\n"
            b"Connection: close\r\n"
            b"\r\n"
            b"505 HTTP Version Not Supported: unsupported protocol version"
        ),
        "closed",
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
        (b"GET /%2e%2e/sse HTTP/1.1\r\nHost: x\r\n\r\n"),
        (
            b"HTTP/1.1 301 Moved Permanently\r\n"
            b"Content-Type: text/html; charset=utf-8\r\n"
            b"Location: /sse\r\n"
            b"Date: X\r\n"
            b"Content-Length: 39\r\n"
            b"\r\n"
            b'<a href="/sse">Moved Permanently</a>.\n\n'
        ),
        "open",
    ),
    (
        (b"POST // HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"),
        (b"HTTP/1.1 301 Moved Permanently\r\nLocation: /\r\nDate: X\r\nContent-Length: 0\r\n\r\n"),
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
