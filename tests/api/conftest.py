"""The servers of this room."""

from __future__ import annotations

import ssl

import pytest
from api.certificates import CERTIFICATE
from api.wire import Wire, listening


@pytest.fixture
def wire():
    """Give a server that answers with given bytes."""
    with listening(Wire()) as running:
        yield running


@pytest.fixture
def secure(tmp_path):
    """Give such a server behind TLS, and the file with its certificate."""
    path = tmp_path / "certificate.pem"
    path.write_text(CERTIFICATE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    with listening(Wire(tls=context)) as running:
        yield running, str(path)
