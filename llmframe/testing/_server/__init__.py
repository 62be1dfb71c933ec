"""The server itself: its endpoints, the choice of faults, the enforcement of limits, and HTTP on a thread."""

from llmframe.testing._server.local_server import LocalServer
from llmframe.testing._server.serve import serve

__all__ = [
    "LocalServer",
    "serve",
]
