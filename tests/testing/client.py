"""Plain requests to the local server, without the SDK."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

MODEL = "gpt-6-luna"


def ask(text="Say something.", **more):
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **more}


def send(server, path, body=None, *, method, key="k", kind="application/json", timeout=10.0):
    """Return status, body (parsed where it is JSON) and headers of the response; `path` begins behind `/v1`."""
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    headers = {"content-type": kind} | ({"authorization": f"Bearer {key}"} if key else {})
    base = server.base_url if path.startswith("/") else server.base_url.removesuffix("v1")
    request = urllib.request.Request(base + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, _parsed(answer), _lower(answer.headers)
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, _parsed(answer), _lower(answer.headers)


def _lower(headers):
    return {name.lower(): value for name, value in headers.items()}


def _parsed(answer):
    content = answer.read()
    return json.loads(content) if answer.headers["content-type"].startswith("application/json") else content


def call(server, body=None, *, path="/chat/completions", key="k", timeout=5.0):
    """Ask for a completion."""
    return send(server, path, body, method="POST", key=key, timeout=timeout)


def get(server, path):
    return send(server, path, method="GET", timeout=5.0)


def statuses(server, bodies):
    return [call(server, body)[0] for body in bodies]


def content_of(answer):
    return answer["choices"][0]["message"]["content"]
