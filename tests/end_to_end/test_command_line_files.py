"""`llmframe complete` over files as people have them: formats, encodings, streams, some rows, early stops."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import answer

import llmframe
from llmframe.cli import main
from llmframe.testing import Fault

pytestmark = pytest.mark.slow


REVIEWS = ["Größe stimmt, gut", "Nie wieder!", None, "Geht so"]
FRAME = pd.DataFrame(
    {
        "zip": ["007", "1.50", "NA", "8"],
        "stars": ["5", "1", "2", None],
        "review": pd.Series(REVIEWS, dtype="str"),
    }
)
SUFFIXES = ["csv", "tsv", "jsonl", "parquet"]


@pytest.fixture(autouse=True)
def account(server, monkeypatch, tmp_path):
    """Let the environment name the server, the key and the model, as a user's does, and work in a folder of its own."""
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("LLMFRAME_MODEL", "gpt-6-luna")
    monkeypatch.chdir(tmp_path)


def complete(source, target, *more):
    return main(["complete", source, target, "--column", "review", "--into", "mood", "--quiet", *more])


def content(suffix, encoding="utf-8", frame=FRAME):
    """Return a file as other programs write it."""
    file = io.BytesIO()
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), file)
        return file.getvalue()
    if suffix == "jsonl":
        rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
        return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode(encoding)
    sep = "\t" if suffix == "tsv" else ","
    return frame.to_csv(index=False, sep=sep, lineterminator="\n").encode(encoding)


def read(path, suffix):
    raw = Path(path).read_bytes() if isinstance(path, str) else path
    if suffix == "parquet":
        return pq.read_table(io.BytesIO(raw)).to_pandas()
    if suffix == "jsonl":
        return pd.DataFrame([json.loads(line) for line in raw.decode().splitlines()])
    text = raw.decode("utf-8-sig")
    return llmframe.read_csv(io.StringIO(text, newline=""), sep="\t" if suffix == "tsv" else ",", infer=False)


def rows(frame):
    return frame.astype(object).where(frame.notna(), None).to_numpy().tolist()


EXPECTED = [[*row, row[2] and answer(row[2])] for row in rows(FRAME)]


@pytest.mark.parametrize("target", SUFFIXES)
@pytest.mark.parametrize("source", SUFFIXES)
def test_each_format_becomes_each_other(source, target):
    """By the suffixes, in any case of letters; every other column stays as it was."""
    Path(f"in.{source.upper()}").write_bytes(content(source))
    assert complete(f"in.{source.upper()}", f"out.{target}") == 0
    written = read(f"out.{target}", target)
    assert written.columns.tolist() == ["zip", "stars", "review", "mood"]
    assert rows(written) == EXPECTED


FOUND = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]


@pytest.mark.parametrize("encoding", [*FOUND, "cp1252", "mac-roman"])
@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_files_in_many_encodings_are_read(suffix, encoding, server, capsys):
    """Unicode is found by itself; the others are named, and the error shows the line and the way on."""
    Path(f"in.{suffix}").write_bytes(content(suffix, encoding))
    if encoding not in FOUND:
        assert complete(f"in.{suffix}", f"out.{suffix}") == 2
        said = capsys.readouterr().err
        assert re.search(r"its line [12] has .*Gr\\\\x\w\w", said)
        assert "--encoding cp1252" in said
        assert server.ledger.requests == 0
    named = [] if encoding in FOUND else ["--encoding", encoding]
    assert complete(f"in.{suffix}", f"out.{suffix}", *named) == 0
    assert rows(read(f"out.{suffix}", suffix)) == EXPECTED


@pytest.mark.parametrize("given", ["found", ";"])
def test_semicolons_stay_semicolons(given):
    Path("in.csv").write_bytes('\ufeffid;preis;review\r\n007;1,50;"gut; sehr"\r\n'.encode())
    assert complete("in.csv", "out.csv", *([] if given == "found" else ["--sep", given])) == 0
    mood = answer("gut; sehr")
    assert (
        Path("out.csv").read_text("utf-8-sig")
        == f'"id";"preis";"review";"mood"\n"007";"1,50";"gut; sehr";"{mood}"\n'
    )
    assert complete("in.csv", "out.tsv") == 0
    assert Path("out.tsv").read_text("utf-8-sig").splitlines()[0] == '"id"\t"preis"\t"review"\t"mood"'


def test_each_suffix_has_its_own_separator():
    """Only between two CSV files is it kept."""
    Path("in.tsv").write_text("id\treview\n007\ta,b;c\n")
    for name, sep in (("out.csv", ","), ("out.tab", "\t")):
        assert complete("in.tsv", name) == 0
        assert Path(name).read_text("utf-8-sig").splitlines()[0] == sep.join(['"id"', '"review"', '"mood"'])


def test_names_that_are_duplicate_are_told_on_one_line_and_stay(capsys):
    Path("in.csv").write_text("review,id,review\na,007,b\n")
    assert main(["complete", "in.csv", "out.csv", "--column", "review.1", "--into", "mood", "--quiet"]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "'review'" in line]
    assert told == [
        "llmframe: in.csv: several columns are named 'review'; for --column and --prompt they are ['review', 'review.1']"
    ]
    assert (
        Path("out.csv").read_text("utf-8-sig")
        == f'"review","id","review","mood"\n"a","007","b","{answer("b")}"\n'
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_streams_are_read_and_written_and_only_data_is_on_stdout(suffix):
    """stdout has the file and nothing else; what is said is on stderr."""
    command = [
        sys.executable,
        "-m",
        "llmframe",
        "complete",
        "-",
        "-",
        "--format",
        suffix,
        "--column",
        "review",
        "--into",
        "mood",
    ]
    done = subprocess.run(command, input=content(suffix), capture_output=True, timeout=60, check=True)
    assert rows(read(done.stdout, suffix)) == EXPECTED
    assert not done.stdout.startswith(b"\xef\xbb\xbf")
    assert "4 rows are written to stdout" in done.stderr.decode()


def test_a_stream_has_the_format_of_the_file_beside_it():
    Path("in.jsonl").write_bytes(content("jsonl"))
    command = [
        sys.executable,
        "-m",
        "llmframe",
        "complete",
        "--column",
        "review",
        "--into",
        "mood",
        "--quiet",
    ]
    done = subprocess.run([*command, "in.jsonl", "-"], capture_output=True, timeout=60, check=True)
    assert rows(read(done.stdout, "jsonl")) == EXPECTED
    again = [*command, "-", "out.csv", "--format", "jsonl", "--overwrite", "missing"]
    subprocess.run(again, input=done.stdout, timeout=60, check=True, capture_output=True)
    assert rows(read("out.csv", "csv")) == EXPECTED


@pytest.mark.parametrize(
    ("more", "sent"),
    [
        (["--limit", "1"], ["a"]),
        (["--where", "stars < 3"], ["b", "d"]),
        (["--where", "stars < 3", "--limit", "1"], ["b"]),
        (["--where", "zip in ['007', '8'] and not stars == 5"], ["d"]),
        (["--where", "stars > 9"], []),
    ],
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_some_rows_are_sent_and_the_others_stay_missing(suffix, more, sent, server):
    """The first rows of those of which the condition holds; numbers in text are numbers, those of JSONL and Parquet too."""
    frame = pd.DataFrame(
        {
            "zip": ["007", "1", "2", "8"],
            "stars": pd.array([5, 1, None, 2], dtype="Int64"),
            "review": list("abcd"),
        }
    )
    Path(f"in.{suffix}").write_bytes(content(suffix, frame=frame))
    assert complete(f"in.{suffix}", f"out.{suffix}", *more) == 0
    written = read(f"out.{suffix}", suffix)
    assert written["mood"].notna().tolist() == [review in sent for review in "abcd"]
    assert server.ledger.billed == len(sent)
    assert complete(f"in.{suffix}", f"out.{suffix}", "--force") == 0
    assert server.ledger.billed == 4


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("len(review) < 3", "a call is not allowed"),
        ("star < 3", "--where: there is no column 'star'"),
        ("stars <", "--where"),
    ],
)
def test_a_condition_that_is_none_is_refused_before_anything_is_sent(condition, said, server, capsys):
    Path("in.csv").write_bytes(content("csv"))
    assert complete("in.csv", "out.csv", "--where", condition) == 2
    assert said in capsys.readouterr().err
    assert server.ledger.requests == 0


@pytest.mark.parametrize(
    ("source", "target", "more", "said"),
    [
        ("in.csv", "out.xlsx", [], "write a .csv, which spreadsheets open, or use df.llm.to_excel in Python"),
        ("in.csv", "out.json", [], "write .jsonl"),
        ("in.csv", "out.csv.gz", [], "compress it then"),
        ("in.xlsx", "out.csv", [], "save it as CSV"),
        ("in.json", "out.csv", [], "one object a line"),
        ("in.csv.gz", "out.csv", [], "gunzip -c"),
        ("in.csv", "out.txt", [], "pass --format"),
        ("in.csv", "out.xlsx", ["--format", "csv"], ".xlsx is not written"),
        ("-", "-", [], "the format of - is open: pass --format"),
        ("in.csv", "out.csv", ["--format", "jsonl"], "leave it out"),
        ("in.csv", "in.csv", [], "--force"),
        ("in.csv", "folder", [], "folder is a folder"),
        ("in.csv", "folder.csv", [], "is a folder"),
        ("in.csv", "none/out.csv", [], "create it first"),
        ("none.csv", "out.csv", [], "there is no file none.csv"),
        ("folder.csv", "out.csv", [], "folder.csv is a folder"),
        ("empty.csv", "out.csv", [], "empty.csv: the file is empty"),
        ("ragged.csv", "out.csv", [], "ragged.csv: line 3 has 3 cells"),
        ("bad.jsonl", "out.csv", [], "bad.jsonl: line 2 is no JSON object"),
        ("bad.parquet", "out.csv", [], "bad.parquet: the file cannot be read as Parquet"),
        ("in.csv", "out.csv", ["--encoding", "nope"], "--encoding: 'nope' is none that Python knows"),
        ("bad.parquet", "out.csv", ["--encoding", "utf-8"], "--encoding is for text"),
        ("bad.parquet", "out.jsonl", ["--sep", ";"], "--sep is for CSV and TSV"),
        ("in.csv", "out.csv", ["--into", "stars"], "--into, or pass --overwrite all to replace it or --overwrite missing"),
        ("in.csv", "out.csv", ["--into", "review"], "write elsewhere with --into"),
        ("in.csv", "out.csv", ["--column", "nope"], "--column: there is no column 'nope'"),
        ("in.csv", "out.csv", ["--max-retries", "-1"], "--max-retries must"),
        ("in.csv", "out.csv", ["--requests-per-minute", "-1"], "--requests-per-minute must"),
    ],
)  # fmt: skip
def test_what_cannot_be_carried_out_is_refused_before_anything_is_sent(
    source, target, more, said, server, capsys
):
    """In the command line's own words, and nothing is written."""
    Path("in.csv").write_bytes(content("csv"))
    Path("empty.csv").touch()
    Path("ragged.csv").write_text("review,b\n1,2\n1,2,3\n")
    Path("bad.jsonl").write_text('{"review":"a"}\n[1]\n')
    Path("bad.parquet").write_text("PAR1")
    for folder in ("folder", "folder.csv"):
        Path(folder).mkdir()
    before = {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    assert complete(source, target, *more) == 2
    assert said in capsys.readouterr().err
    assert server.ledger.requests == 0
    assert {path: path.read_bytes() for path in Path().iterdir() if path.is_file()} == before


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--limit", "0"], "no number of rows"),
        (["--sep", "::"], "no separator"),
        (["--param", "model=x"], "write --model"),
        (["--param", "version=x"], "write --as-version"),
        (["--param", "api_key=sk"], "the key comes from OPENAI_API_KEY alone"),
        (["--api-key", "sk"], "unrecognized arguments: --api-key sk\n"),
        (["--max-completion-tokens=20"], "; write --param max_completion_tokens=VALUE"),
        (["--param", "temperature"], "is not NAME=VALUE"),
    ],
)
def test_options_that_cannot_be_meant_are_refused_by_the_parser(more, said, capsys):
    with pytest.raises(SystemExit) as ended:
        complete("in.csv", "out.csv", *more)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_parquet_without_its_extra_says_how_to_install_it(monkeypatch, server, capsys):
    """Before anything is sent, also where only OUT is Parquet; on PyPI the name belongs to another project."""
    Path("in.csv").write_bytes(content("csv"))
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert complete("in.csv", "out.parquet") == 2
    said = capsys.readouterr().err
    assert "pip install '.[parquet]'" in said
    assert "pip install llmframe" not in said
    assert server.ledger.requests == 0


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("overwrite", [None, "missing", "all"])
def test_a_run_that_stops_early_leaves_the_finished_rows_beside(suffix, overwrite, server, capsys):
    """In the same format, with the other columns as they were; the same command continues and removes them."""
    frame = FRAME.assign(mood=pd.Series([None] * 4, dtype="str")) if overwrite else FRAME
    Path(f"in.{suffix}").write_bytes(content(suffix, frame=frame))
    more = ["--overwrite", overwrite] if overwrite else []
    assert complete(f"in.{suffix}", "first.csv", "--where", "review == 'Nie wieder!'", *more) == 0
    server.faults = [Fault("insufficient_quota")]
    assert complete(f"in.{suffix}", f"out.{suffix}", *more) == 3
    said = capsys.readouterr().err
    assert f"1 finished row is in out.{suffix}.partial" in said
    assert "run the same call" not in said
    assert not Path(f"out.{suffix}").exists()
    assert rows(read(f"out.{suffix}.partial", suffix)) == [EXPECTED[1]]
    server.faults = []
    assert complete(f"in.{suffix}", f"out.{suffix}", *more) == 0
    assert rows(read(f"out.{suffix}", suffix)) == EXPECTED
    assert not Path(f"out.{suffix}.partial").exists()
    assert server.ledger.billed == 3


def test_a_stream_gets_all_rows_or_none(server, capfdbinary):
    Path("in.csv").write_bytes(content("csv"))
    assert complete("in.csv", "first.csv", "--limit", "1") == 0
    server.faults = [Fault("insufficient_quota")]
    capfdbinary.readouterr()
    assert complete("in.csv", "-") == 3
    out, err = capfdbinary.readouterr()
    assert out == b""
    assert b"1 row is finished; - gets all rows or none" in err
    assert [path.name for path in Path().glob("*.partial")] == []


def test_quiet_keeps_counts_and_errors(server, capsys):
    """And no bar; what the library warns of is said without Python's file and line."""
    server.faults = [Fault("context_length_exceeded", when=lambda body: "Geht so" in str(body["messages"]))]
    Path("in.csv").write_bytes(content("csv"))
    assert complete("in.csv", "out.csv", "--limit", "2") == 0
    said = capsys.readouterr().err
    assert re.fullmatch(r"llmframe: 2 of 2 rows answered, \$0\.\d{4}\n", said)
    assert complete("in.csv", "out.csv", "--force") == 1
    said = capsys.readouterr().err
    assert "1 of 4 rows failed; the others are written" in said
    assert "1 × context_length_exceeded (row 4): " in said  # noqa: RUF001
    assert "--error-into" in said
    assert (
        "2 of 4 rows answered, 1 failed, 1 not sent (missing or blank), 2 requests from the journal" in said
    )
    assert "row/s" not in said


def test_a_warning_is_said_in_the_command_lines_words(server):
    server.faults = [Fault("context_length_exceeded", when=lambda body: "Geht so" in str(body["messages"]))]
    Path("in.csv").write_bytes(content("csv"))
    command = [
        sys.executable,
        "-m",
        "llmframe",
        "complete",
        "in.csv",
        "out.csv",
        "--column",
        "review",
        "--errors",
        "coerce",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "llmframe: 1 of 4 rows failed" in done.stderr
    assert "CompletionWarning" not in done.stderr
    assert "cli" not in done.stderr


def test_what_cannot_be_written_in_the_end_is_in_the_journal(server, monkeypatch, capsys):
    """A disk that is full costs the file, not the answers, and an existing file is kept."""
    Path("in.csv").write_bytes(content("csv"))
    Path("out.csv").write_text("precious")

    def full(*_):
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        patched.setenv("LLMFRAME_JOURNAL", str(Path("kept.sqlite").absolute()))
        assert complete("in.csv", "out.csv", "--force") == 2
    assert "the answers are in the journal: run the same command again" in capsys.readouterr().err
    assert Path("out.csv").read_text() == "precious"
    assert not list(Path().glob(".*llmframe-tmp"))


def test_why_a_run_ended_is_said_although_its_finished_rows_cannot_be_written(server, capsys):
    Path("in.csv").write_bytes(content("csv"))
    assert complete("in.csv", "first.csv", "--limit", "1") == 0
    Path("out.csv.partial").mkdir()
    server.faults = [Fault("insufficient_quota")]
    assert complete("in.csv", "out.csv") == 3
    said = capsys.readouterr().err
    assert "out.csv.partial cannot be written" in said
    assert "To go on: add credit" in said


def test_the_help_has_examples_exit_codes_and_the_environment(capsys):
    for command in ([], ["extract"], ["classify"], ["complete"]):
        with pytest.raises(SystemExit):
            main([*command, "--help"])
        said = capsys.readouterr().out
        for text in ("exit codes:", "130", "OUT.partial", "OPENAI_API_KEY", "LLMFRAME_JOURNAL"):
            assert text in said
    assert "examples:\n  llmframe complete reviews.csv" in said
    assert "--api-key" not in said


@pytest.mark.parametrize(("verb", "count"), [("complete", 4), ("extract", 3), ("classify", 3)])
def test_the_examples_of_the_help_can_be_parsed(verb, count, capsys):
    """Each option in them is there."""
    import shlex

    from llmframe.cli.parser import parser

    with pytest.raises(SystemExit):
        main([verb, "--help"])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if f"llmframe {verb} " in line]
    examples = [line.partition("llmframe ")[2].split(" | ")[0] for line in lines if "OPTIONS" not in line]
    assert len(examples) == count
    for example in examples:
        parser().parse_args(shlex.split(example))


def test_an_excel_file_has_what_a_command_wrote(tmp_path):
    """The way on that the refusal of .xlsx names."""
    Path("in.csv").write_bytes(content("csv"))
    assert complete("in.csv", "out.csv") == 0
    llmframe.read_csv("out.csv", infer=False).llm.to_excel("out.xlsx", index=False)
    sheet = openpyxl.load_workbook("out.xlsx").active
    assert [[cell.value for cell in row] for row in sheet.iter_rows(min_row=2)] == EXPECTED
