"""A server that the examples of a property share."""

from __future__ import annotations

import pytest

from llmframe.testing import Fault, LocalServer


@pytest.fixture(scope="module")
def shared():
    """Give a server that refuses rows with "bad" in them."""
    faults = [Fault("context_length_exceeded", when=lambda body: "bad" in str(body["messages"]))]
    with LocalServer(faults=faults) as running:
        yield running
