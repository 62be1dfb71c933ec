"""Large files: read, answered and written chunk by chunk, with what a whole file would give."""

from __future__ import annotations

import datetime as dt
import json
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import MODEL, answer, paid_again, tune, wait_until

import llmframe
from llmframe._run import JoinedRun
from llmframe.cli import main
from llmframe.testing import Fault

pytestmark = pytest.mark.usefixtures("account")

ROWS = 60
CHUNK = 7


def reviews(count=ROWS, **columns):
    """Return rows of which some are equal, and some are missing."""
    texts = [None if number % 11 == 5 else f"Review {number % 40}" for number in range(count)]
    return pd.DataFrame({"id": [f"{number:03}" for number in range(count)], **columns, "review": texts})


def save(frame, name):
    if name.endswith("parquet"):
        frame.to_parquet(name, index=False, row_group_size=5)
    elif name.endswith("jsonl"):
        frame.to_json(name, orient="records", lines=True)
    else:
        frame.to_csv(name, index=False, sep="\t" if name.endswith("tsv") else ",")


def run(verb, source, target, *more, chunk=CHUNK):
    tune(file_chunk_rows=chunk)
    code = main([verb, source, target, "--column", "review", "--quiet", *more])
    if code == 0 and chunk == CHUNK and "batch" not in more:
        rows = llmframe.last_run().rows
        assert isinstance(llmframe.last_run(), JoinedRun) or rows <= chunk, "it was streamed"
    return code


def complete(source, target, *more, chunk=CHUNK):
    return run("complete", source, target, "--into", "mood", *more, chunk=chunk)


def moods(name):
    return pd.read_csv(name, dtype="str", keep_default_na=False)["mood"].tolist()


ODD = {
    "plain.csv": reviews().to_csv(index=False).encode(),
    "lines.csv": ("id,review\r\n" + "".join(f'{n},"two\r\nlines, ""{n}"""\r\n' for n in range(20))).encode(),
    "mark.csv": "\ufeffid;review\n1,5;gut\n2;\n".encode() * 1 + b"3;x\n" * 20,
    "utf16.csv": ("id,review\n" + "".join(f"{n},Größe {n}\n" for n in range(20))).encode("utf-16"),
    "one.csv": ("review\n" + "".join(f"text {n}\n" for n in range(20))).encode(),
    "blank.csv": ("review,x\n\n" + "".join(f"text {n},\n\n" for n in range(20))).encode(),
    "empty.csv": b'review,x,""\n' + b'"",,\n' * 20 + b'a,"",NA\n',
    "names.csv": b"review,a,a,\n" + b"1,2,3,4\n" * 20,
    "formulas.csv": ("review,f\n" + "".join(f"'=1+{n},'-x\n" for n in range(20))).encode(),
    "numbers.csv": ("n,review\n" + "".join(f"{n},{n}\n" for n in range(20)) + "text,007\n1.50,NA\n").encode(),
    "nul.csv": b"n,review\n" + b"1,a\n" * 20 + b"2,b\0c\n" + "3,\ufffe0\n".encode() + b"4,\xef\xbf\xbe1\n",
    "short.csv": b"a,b,review\n" + b"1,2,x\n" * 20 + b"1\n",
    "header.csv": b"id,review\n",
    "tabs.tsv": reviews().to_csv(index=False, sep="\t").encode(),
    "plain.jsonl": reviews().to_json(orient="records", lines=True).encode(),
    "keys.jsonl": b'{"review": "a"}\n' * 10
    + b'{"late": [1, {"x": null}], "id": 1.50}\n\n' * 10
    + b'{"review": "b", "late": NaN, "mood ": 1}',
}


@pytest.mark.parametrize("name", ODD)
def test_a_streamed_file_is_byte_for_byte_what_a_whole_one_is(name, server):
    Path(name).write_bytes(ODD[name])
    suffix = Path(name).suffix
    for other in {suffix, ".csv", ".jsonl"}:
        assert complete(name, f"whole{other}", "--error-into", "why", "--force", chunk=10**6) == 0
        assert complete(name, f"streamed{other}", "--error-into", "why", "--force") == 0
        assert Path(f"streamed{other}").read_bytes() == Path(f"whole{other}").read_bytes()
    assert paid_again(server) == 0


TYPED = {
    "n": pa.array([None if number == 50 else number for number in range(ROWS)]),
    "huge": pa.array([2**60 + number if number > 30 else None for number in range(ROWS)], pa.int64()),
    "ok": pa.array([number > 3 for number in range(ROWS)]),
    "when": pa.array([dt.datetime(2026, 1, 1, tzinfo=dt.UTC)] * ROWS, pa.timestamp("us", tz="Europe/Paris")),
    "price": pa.array([Decimal("1.50")] * ROWS),
    "nested": pa.array([{"x": [1, None]}] * ROWS),
    "label": pa.array([f"l{number}" for number in range(ROWS)]).dictionary_encode(),
    "nothing": pa.nulls(ROWS),
    "review": pa.array(reviews()["review"], from_pandas=True),
}


@pytest.mark.parametrize("group", [5, 20, *(pytest.param(group, marks=pytest.mark.slow) for group in (3, 7))])
def test_streamed_parquet_keeps_schema_metadata_and_row_groups(group, server):
    """Only groups that are larger than a chunk become several."""
    table = pa.table(TYPED).replace_schema_metadata({"who": "me"})
    pq.write_table(table, "in.parquet", row_group_size=group, compression="zstd")
    assert complete("in.parquet", "whole.parquet", chunk=10**6) == 0
    assert complete("in.parquet", "streamed.parquet") == 0
    streamed, whole = pq.ParquetFile("streamed.parquet"), pq.ParquetFile("whole.parquet")
    assert streamed.read().equals(whole.read(), check_metadata=True)
    assert streamed.schema_arrow.metadata[b"who"] == b"me"
    if group <= CHUNK:
        assert Path("streamed.parquet").read_bytes() == Path("whole.parquet").read_bytes()
    assert complete("in.parquet", "whole.csv", chunk=10**6) == 0
    assert complete("in.parquet", "streamed.csv") == 0
    assert Path("streamed.csv").read_bytes() == Path("whole.csv").read_bytes()


SCHEMA = {
    "type": "object",
    "properties": {
        "n": {"type": "integer"},
        "day": {"type": "string", "format": "date-time"},
        "parts": {"type": "array", "items": {"type": "string"}},
        "tone": {"enum": ["calm", "angry"]},
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("verb", ["extract", "classify"])
def test_typed_answers_are_written_as_in_a_whole_file(verb, suffix, server):
    save(reviews(), f"in.{suffix}")
    Path("fields.json").write_text(json.dumps(SCHEMA))
    own = {
        "extract": ["--schema", "fields.json", "--quotes"],
        "classify": ["--labels", "praise,complaint", "--multi"],
    }[verb]
    assert run(verb, f"in.{suffix}", f"whole.{suffix}", *own, chunk=10**6) == 0
    assert run(verb, f"in.{suffix}", f"streamed.{suffix}", *own) == 0
    assert Path(f"streamed.{suffix}").read_bytes() == Path(f"whole.{suffix}").read_bytes()


@pytest.mark.parametrize("journal", [[], ["--no-journal"]])
def test_rows_that_are_equal_in_several_chunks_are_paid_once(journal, server):
    server.latency = 0.02
    save(reviews(), "in.csv")
    assert complete("in.csv", "out.csv", *journal) == 0
    assert server.ledger.billed == len({*reviews()["review"].dropna()})
    assert moods("out.csv") == [answer(text) if isinstance(text, str) else "" for text in reviews()["review"]]


def test_without_dedupe_the_copies_are_those_of_the_whole_file(server):
    """So that the same rows in chunks of another size are the same requests."""
    save(reviews(), "in.csv")
    assert complete("in.csv", "whole.csv", "--param", "dedupe=false", chunk=10**6) == 0
    assert server.ledger.billed == reviews()["review"].notna().sum()
    for chunk in (7, 13):
        assert complete("in.csv", "out.csv", "--param", "dedupe=false", "--force", chunk=chunk) == 0
    assert server.ledger.billed == reviews()["review"].notna().sum()
    assert Path("out.csv").read_bytes() == Path("whole.csv").read_bytes()


@pytest.mark.parametrize(
    "more", [["--where", "stars < 3"], ["--limit", "30"], ["--where", "n != 7", "--limit", "20"]]
)
def test_a_condition_and_a_limit_are_those_of_the_whole_file(more, server):
    """The last cell of `n` is no number, by which all cells are compared as texts; so they are in the first chunk."""
    frame = reviews(stars=["1", "2", "3"] * (ROWS // 3), n=[*map(str, range(ROWS - 1)), "7a"])
    save(frame, "in.csv")
    codes = [complete("in.csv", f"{chunk}.csv", *more, chunk=chunk) for chunk in (7, 10**6)]
    assert codes[0] == codes[1]
    if codes[0] == 0:
        assert Path("7.csv").read_bytes() == Path("1000000.csv").read_bytes()


@pytest.mark.parametrize("name", ["in.csv", "in.jsonl"])
def test_a_file_that_cannot_be_read_to_its_end_costs_nothing(name, server, capsys):
    save(reviews(), name)
    with Path(name).open("ab") as file:
        file.write(b"1,2,3,4,5\n")
    assert complete(name, "out.csv") == 2
    assert "line 6" in capsys.readouterr().err
    assert server.ledger.requests == 0
    assert not list(Path().glob("out.csv*"))


def test_rows_that_fail_in_one_chunk_cost_no_other(server, capsys):
    """Rows are counted in the file, and causes are told together."""
    server.faults = [Fault("context_length_exceeded", when=f"Review {number}") for number in (13, 37)]
    save(reviews(), "in.csv")
    assert complete("in.csv", "out.csv", "--error-into", "why") == 1
    said = capsys.readouterr().err
    assert "3 of 60 rows failed; the others are written" in said
    assert "3 × context_length_exceeded (first row 14)" in said  # noqa: RUF001
    failed = {number for number in range(ROWS) if number % 40 in {13, 37} and number % 11 != 5}
    whys = pd.read_csv("out.csv", dtype="str", keep_default_na=False)["why"]
    assert {row for row, why in enumerate(whys) if why.startswith("context_length_exceeded")} == failed
    assert llmframe.last_run().failures["position"].tolist() == sorted(failed)


@pytest.mark.parametrize(
    "suffix", ["csv", *(pytest.param(each, marks=pytest.mark.slow) for each in ("jsonl", "parquet"))]
)
def test_what_ends_one_chunk_ends_all_and_the_same_command_goes_on(suffix, server, capsys):
    """The finished rows are beside; a good file that is to be replaced stays."""
    save(reviews(), f"in.{suffix}")
    Path(f"out.{suffix}").write_text("precious")
    server.faults = [Fault("insufficient_quota", after=25)]
    assert complete(f"in.{suffix}", f"out.{suffix}", "--force", "--max-concurrency", "1") == 3
    said = capsys.readouterr().err
    assert said.count("To go on: add credit") == 1
    assert Path(f"out.{suffix}").read_text() == "precious"
    assert not Path(f"out.{suffix}.part").exists()
    paid = server.ledger.billed
    assert paid >= 25
    Path(f"out.{suffix}.partial").rename(f"partial.{suffix}")
    assert complete(f"partial.{suffix}", "read.csv", "--overwrite", "missing", chunk=10**6) == 0
    partial = pd.read_csv("read.csv", dtype="str")
    assert f"{len(partial)} finished rows are in out.{suffix}.partial" in said
    assert partial["mood"].tolist() == [answer(text) for text in partial["review"]]
    server.faults = []
    assert complete(f"in.{suffix}", f"out.{suffix}", "--force") == 0
    assert not list(Path().glob(f"out.{suffix}.*"))
    assert paid_again(server) == 0


def test_a_wrong_key_is_told_once_and_leaves_nothing(server, capsys):
    server.faults = [Fault("invalid_api_key")]
    save(reviews(), "in.csv")
    assert complete("in.csv", "out.csv") == 3
    assert capsys.readouterr().err.count("To go on") == 1
    assert not list(Path().glob("out.csv*"))


def test_the_cap_is_the_whole_commands(server, capsys):
    dollars = 1e-3
    llmframe.options.prices = {MODEL: {"input": dollars * 1e6, "output": dollars * 1e6}}
    server.answer = lambda _: "word " * 30
    save(pd.DataFrame({"review": [f"{number}: {'Say it well. ' * 10}" for number in range(200)]}), "in.csv")
    capped = ["--max-cost", "9.77", "--param", "max_completion_tokens=40"]
    assert complete("in.csv", "out.csv", *capped, chunk=30) == 3
    assert "the cap of $9.77 is reached" in capsys.readouterr().err
    assert 0.95 * 9.77 <= server.ledger.tokens * dollars <= 9.77


def test_fresh_asks_once_over_all_chunks_and_goes_on_when_it_was_cut_short(server):
    save(reviews(), "in.csv")
    distinct = len({*reviews()["review"].dropna()})
    assert complete("in.csv", "out.csv") == 0
    server.faults = [Fault("insufficient_quota", after=20)]
    assert complete("in.csv", "out.csv", "--force", "--fresh", "--max-concurrency", "1") == 3
    server.faults = []
    assert complete("in.csv", "out.csv", "--force", "--fresh") == 0
    assert server.ledger.billed == 2 * distinct
    assert complete("in.csv", "out.csv", "--force", "--fresh") == 0
    assert server.ledger.billed == 3 * distinct


@pytest.mark.parametrize("overwrite", ["missing", "all"])
def test_existing_columns_are_filled_and_replaced(overwrite, server):
    frame = reviews(mood=["kept" if number % 3 else None for number in range(ROWS)])
    save(frame, "in.csv")
    assert complete("in.csv", "whole.csv", "--overwrite", overwrite, chunk=10**6) == 0
    assert complete("in.csv", "out.csv", "--overwrite", overwrite) == 0
    assert Path("out.csv").read_bytes() == Path("whole.csv").read_bytes()


@pytest.mark.usefixtures("swift")
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_by_batch_the_requests_of_all_chunks_are_gathered(suffix, server):
    save(reviews(), f"in.{suffix}")
    assert complete(f"in.{suffix}", f"out.{suffix}", "--mode", "batch") == 0
    assert server.ledger.batches_created == 1
    assert complete(f"in.{suffix}", f"whole.{suffix}", chunk=10**6) == 0
    assert Path(f"out.{suffix}").read_bytes() == Path(f"whole.{suffix}").read_bytes()


def test_one_bar_and_one_line_tell_of_all_chunks(server, capsys):
    save(reviews(), "in.csv")
    tune(file_chunk_rows=CHUNK)
    assert main(["complete", "in.csv", "out.csv", "--column", "review", "--into", "mood"]) == 0
    said = capsys.readouterr().err
    assert said.count("llmframe: ") == 1
    assert "60/60" in said
    assert "55 rows answered, 5 not sent (review missing): 38 asked now, 17 from the journal" in said


def test_stdout_gets_all_or_nothing(server, capfdbinary):
    save(reviews(), "in.csv")
    assert complete("in.csv", "out.csv") == 0
    capfdbinary.readouterr()
    assert complete("in.csv", "-") == 0
    assert capfdbinary.readouterr().out == Path("out.csv").read_text("utf-8-sig").encode()
    server.faults = [Fault("insufficient_quota")]
    assert complete("in.csv", "-", "--as-version", "2") == 3
    assert capfdbinary.readouterr().out == b""


COMMAND = """
import sys, llmframe
llmframe.options._tuning = llmframe.options._tuning._replace(file_chunk_rows=50)
from llmframe.cli import main
sys.exit(main(["complete", "in.csv", "out.csv", "--column", "review", "--into", "mood", "--max-concurrency", "20"]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_command_that_was_killed_goes_on(number, server):
    server.latency = 0.05
    save(pd.DataFrame({"review": [f"Review {number}" for number in range(1000)]}), "in.csv")
    process = subprocess.Popen([sys.executable, "-c", COMMAND], stderr=subprocess.PIPE, text=True)
    wait_until(lambda: server.ledger.billed > 300)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert not Path("out.csv").exists()
    assert Path("out.csv.part").exists() == (number == signal.SIGKILL)
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert said.count("interrupted") == 1
        assert len(moods("out.csv.partial")) >= 200
    assert subprocess.run([sys.executable, "-c", COMMAND], timeout=60, check=False).returncode == 0
    assert moods("out.csv") == [answer(f"Review {number}") for number in range(1000)]
    assert (
        paid_again(server) <= 2 * server.ledger.max_in_flight
    )  # in flight, or answered and not committed yet
    assert not list(Path().glob("out.csv.part*"))


@pytest.mark.parametrize("chunk", [CHUNK, 10**6])
def test_what_the_same_command_wrote_is_replaced_and_nothing_else(chunk, server, capsys):
    """The journal knows the file as it was left."""
    save(reviews(), "in.csv")
    for _ in range(3):
        assert complete("in.csv", "out.csv", chunk=chunk) == 0
    assert complete("in.csv", "out.csv", "--limit", "3", chunk=chunk) == 2
    assert complete("in.csv", "out.csv", "--as-version", "2", chunk=chunk) == 2
    save(reviews(), "other.csv")
    assert complete("other.csv", "out.csv", chunk=chunk) == 2
    assert "pass --force to replace it" in capsys.readouterr().err
    with Path("out.csv").open("a") as file:
        file.write("mine\n")
    assert complete("in.csv", "out.csv", chunk=chunk) == 2
    assert complete("in.csv", "out.csv", "--force", chunk=chunk) == 0
    assert complete("in.csv", "out.csv", chunk=chunk) == 0
    assert complete("in.csv", "out.csv", "--no-journal", chunk=chunk) == 2
    assert paid_again(server) == 0


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [CHUNK, 10**6])
def test_files_from_python_are_those_of_the_command_line(chunk, server):
    save(reviews(), "in.csv")
    tune(file_chunk_rows=chunk)
    run = llmframe.complete_file(
        "in.csv", "a.csv", "review", into="mood", where="id != '001'", progress=False
    )
    assert (run.status, run.rows, run.answered, run is llmframe.last_run()) == ("done", 59, 54, True)
    assert complete("in.csv", "b.csv", "--where", "id != '001'") == 0
    assert Path("a.csv").read_bytes() == Path("b.csv").read_bytes()
    llmframe.extract_file(Path("in.csv"), Path("c.jsonl"), "review", ["part"], progress=False)
    llmframe.classify_file("in.csv", "d.parquet", "review", ["a", "b"], into="kind", progress=False)
    assert pd.read_parquet("d.parquet")["kind"].dropna().isin(["a", "b"]).all()
    with pytest.raises(ValueError, match=r"already there; name another file, or pass force=True"):
        llmframe.complete_file("in.csv", "c.jsonl", "review", progress=False)
    server.faults = [Fault("context_length_exceeded", when="Review 13")]
    with pytest.raises(llmframe.CompletionError, match="2 × context") as caught:  # noqa: RUF001
        llmframe.complete_file("in.csv", "e.csv", "review", version="2", progress=False)
    assert caught.value.run.failed == 2
    assert len(pd.read_csv("e.csv")) == ROWS
    assert len(caught.value.failures) == 2


PEAK = """
import resource, sys
import pandas, pyarrow.parquet
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
from llmframe.cli import main
assert main(["complete", *sys.argv[1:], "--column", "review", "--into", "mood", "--quiet"]) == 0
unit = 1 if sys.platform == "darwin" else 1024
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit / 2**20)
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_memory_holds_three_chunks_of_a_file_of_100_megabytes(suffix, server):
    rows = 450_000
    texts = pd.Series([f"Review {number}" for number in range(1_000)] * (rows // 1_000))
    frame = pd.DataFrame(
        {"id": range(rows), "review": texts, "body": [f"{number:0200}" for number in range(rows)]}
    )
    if suffix == "parquet":
        frame.to_parquet("in.parquet", compression=None, row_group_size=rows)
    else:
        save(frame, f"in.{suffix}")
    assert Path(f"in.{suffix}").stat().st_size > 95e6
    del frame
    words = [sys.executable, "-c", PEAK, f"in.{suffix}", f"out.{suffix}"]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, timeout=300, check=True)
    assert float(done.stdout.splitlines()[-1]) <= 200 + 3 * 64
    assert server.ledger.billed == 1_000


def test_a_failure_that_several_chunks_have_is_asked_again_once(server):
    server.faults = [Fault("refusal", when="Review 13")]
    save(reviews(), "in.csv")
    assert complete("in.csv", "out.csv") == 1
    billed = server.ledger.billed
    assert complete("in.csv", "out.csv", "--retry-failed", "--max-concurrency", "1") == 1
    assert server.ledger.billed == billed + 1
