"""CSV files on disk: encodings, compression, permissions, and a failure halfway."""

import bz2
import gzip
import io
import lzma
import os
import stat
import sys
from pathlib import Path

import pandas as pd
import pytest
from files.csv_frames import text_frame

from llmframe._files.csv.csv_reader import read_csv
from llmframe._files.csv.csv_writer import to_csv


def test_files_are_utf8_with_a_bom_and_line_feeds(tmp_path, reviews):
    """The default file begins with the BOM that Excel needs; encoding="utf-8" leaves it out."""
    to_csv(reviews, tmp_path / "x.csv", index=False)
    assert (tmp_path / "x.csv").read_bytes() == '\ufeff"id","review"\n"R1","Grüße, 😀"\n"R2",\n'.encode()
    to_csv(reviews, tmp_path / "y.csv", index=False, encoding="utf-8")
    assert (tmp_path / "y.csv").read_bytes().startswith(b'"id"')
    for name, encoding in [("x.csv", "utf-8-sig"), ("x.csv", "utf-8"), ("y.csv", "utf-8-sig")]:
        pd.testing.assert_frame_equal(read_csv(tmp_path / name, encoding=encoding), reviews)


def test_other_encodings_have_one_byte_order_mark(tmp_path, reviews):
    """An encoding that begins with a mark writes it once for the file, not for each chunk."""
    to_csv(reviews, tmp_path / "x.csv", index=False, encoding="utf-16")
    assert (tmp_path / "x.csv").read_bytes() == to_csv(reviews, index=False).encode("utf-16")


@pytest.mark.parametrize(("suffix", "module"), [(".gz", gzip), (".bz2", bz2), (".XZ", lzma)])
def test_the_extension_compresses(tmp_path, reviews, suffix, module):
    """.gz, .bz2 and .xz files are compressed, read back by read_csv and by pandas."""
    path = tmp_path / f"x.csv{suffix}"
    to_csv(reviews, path, index=False)
    assert module.decompress(path.read_bytes()) == to_csv(reviews, index=False).encode("utf-8-sig")
    pd.testing.assert_frame_equal(read_csv(path), reviews)
    pd.testing.assert_frame_equal(pd.read_csv(path), reviews)
    assert b"tmp" not in path.read_bytes()


def test_half_a_surrogate_pair_is_named_before_the_file_is_touched(tmp_path):
    """Text that UTF-8 cannot write is an error with its column and row, and the old file stays."""
    path = tmp_path / "x.csv"
    path.write_text("precious")
    frame = pd.DataFrame({"n": range(20_001), "t": pd.Series(["ok"] * 20_000 + ["\ud83d"], dtype=object)})
    with pytest.raises(ValueError, match=r"column 't', row 20000 \(iloc\[20000\]\).*ud83d.*surrogate"):
        to_csv(frame, path)
    with pytest.raises(ValueError, match="a column name"):
        to_csv(pd.DataFrame([[1]], columns=pd.Index(["\ud83d"], dtype=object)), path)
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


def test_a_narrow_encoding_names_what_it_cannot_write():
    """An encoding without a character is an error with its place, not a question mark."""
    with pytest.raises(ValueError, match=r"column 'a', row 1 .*encoding=\"latin-1\""):
        to_csv(text_frame([["é", "😀"]]), encoding="latin-1")


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interrupt_leaves_the_old_file(tmp_path, error):
    """An interrupt or failure in a later chunk leaves what was there, and nothing half-written."""
    path = tmp_path / "x.csv"
    path.write_text("precious")

    class Failing:
        def __str__(self):
            raise error

    frame = pd.DataFrame({"a": pd.Series(["written"] * 20_000 + [Failing()], dtype=object)})
    with pytest.raises(error):
        to_csv(frame, path)
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="permissions and links of POSIX")
def test_permissions_and_links_stay(tmp_path, reviews):
    """An existing file keeps its permissions, a link still points to it, and a new file has the usual ones."""
    target, link, new, usual = (tmp_path / name for name in ("target.csv", "link.csv", "new.csv", "usual"))
    target.touch()
    usual.touch()
    target.chmod(0o640)
    link.symlink_to(target)
    to_csv(reviews, link)
    to_csv(reviews, new)
    assert link.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert target.read_bytes() == new.read_bytes()
    assert new.stat().st_mode == usual.stat().st_mode


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_a_write_protected_file_is_not_replaced(tmp_path, monkeypatch, reviews):
    """A file that may not be written is an error, although its folder would allow replacing it."""
    (tmp_path / "x.csv").touch()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError, match="write-protected"):
        to_csv(reviews, tmp_path / "x.csv")


@pytest.mark.skipif(sys.platform == "win32", reason="devices of POSIX")
def test_a_device_is_written_to_and_not_replaced(reviews):
    """What is no regular file stays what it is."""
    to_csv(reviews, os.devnull)
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


def test_open_text_files_stay_open(tmp_path, reviews):
    """A caller's own file is written and read where it stands, and not closed."""
    with (tmp_path / "x.csv").open("w+", encoding="utf-8", newline="") as file:
        to_csv(reviews, file, index=False)
        file.seek(0)
        pd.testing.assert_frame_equal(read_csv(file), reviews)
        assert not file.closed


def test_none_returns_the_text_without_a_bom(reviews):
    """Without a path the text comes back, and with one None does."""
    assert to_csv(reviews, index=False) == '"id","review"\n"R1","Grüße, 😀"\n"R2",\n'
    assert to_csv(reviews, io.StringIO()) is None


def test_the_users_home_is_found(tmp_path, monkeypatch, reviews):
    """A path may begin with a tilde, as for pandas."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    to_csv(reviews, "~/x.csv", index=False)
    pd.testing.assert_frame_equal(read_csv("~/x.csv"), reviews)
