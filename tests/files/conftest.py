"""A small frame to write."""

import pytest
from files.csv_frames import text_frame


@pytest.fixture
def reviews():
    return text_frame([["R1", "R2"], ["Grüße, 😀", None]], ["id", "review"])
