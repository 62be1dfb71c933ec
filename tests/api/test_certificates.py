"""Which certificates are trusted."""

from __future__ import annotations

import pytest
from api.certificates import CERTIFICATE, OTHER_CERTIFICATE
from api.wire import GOOD, both, plain, send


def test_a_certificate_is_trusted_where_the_sdk_trusts_it(secure, monkeypatch):
    """An unknown certificate ends the run; `SSL_CERT_FILE` makes it known, also one that is its own authority."""
    wire, path = secure
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    ours, sdks = both(plain(wire))
    assert ours.fault.code == sdks.fault.code == "certificate"
    monkeypatch.setenv("SSL_CERT_FILE", path)
    ours, sdks = both(plain(wire))
    assert ours.raw == sdks.raw == GOOD


def test_certificates_that_are_not_there_are_named(wire, monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "typo.pem"))
    with pytest.raises(ValueError, match="SSL_CERT_FILE"):
        send(plain(wire), "aiohttp")
    assert not wire.seen


def test_a_certificate_that_came_meanwhile_is_trusted_by_the_next_run(secure, monkeypatch, tmp_path):
    """After the file is mended, the same call works in the same process."""
    wire, _ = secure
    mended = tmp_path / "mended.pem"
    mended.write_text(OTHER_CERTIFICATE)
    monkeypatch.setenv("SSL_CERT_FILE", str(mended))
    assert send(plain(wire), "aiohttp").fault.code == "certificate"
    mended.write_text(CERTIFICATE)
    assert send(plain(wire), "aiohttp").raw == GOOD
