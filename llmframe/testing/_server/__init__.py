"""The server itself: what it decides for a request, its faults and limits, and HTTP on the loopback."""

from llmframe.testing._server.local_server import LocalServer
from llmframe.testing._server.serve import serve

__all__ = [
    "LocalServer",
    "serve",
]
