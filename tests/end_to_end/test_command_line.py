"""The command line, as somebody types it."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
from helpers import wait_until

import llmframe
from llmframe.cli import main
from llmframe.testing import Batches, Fault, LocalServer

PROMPT = "One word, positive or negative: {review}"


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text('id,zip,review\n1,00123,"Good, really"\n2,1.50,=Bad\n3,NA,\n', encoding="utf-8")
    return path


def arguments(server, source, target, *more):
    return [
        "complete", str(source), str(target), "--column", "review", "--prompt", PROMPT, "--into", "sentiment",
        "--base-url", server.base_url, "--model", "gpt-6-luna", "--quiet", *more,
    ]  # fmt: skip


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "any")


def test_a_csv_is_enriched_and_its_other_columns_stay_as_they_were(server, source, tmp_path):
    """Leading zeros, trailing zeros and the text NA survive; the new column is the last."""
    target = tmp_path / "out.csv"
    assert main(arguments(server, source, target)) == 0
    with target.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["id", "zip", "review", "sentiment"]
    assert [row[1] for row in rows[1:]] == ["00123", "1.50", "NA"]
    assert rows[2][2] == "'=Bad"
    assert [bool(row[3]) for row in rows[1:]] == [True, True, False]


UNTOUCHED = {
    "numbers": 'a,b,c,d,e,f\n-33.9,+49,-1e5,"-1,234.5",-5%, -3\n',
    "numbers that are names": "a,b,c,d\n007,1.0,9007199254740993,12345678901234567890123\n1_000,1e400,0x1F,-0\n",
    "words for missing": "a,b,c,d,e\nNA,nan,null,None,#N/A\n",
    "dates and truth": "a,b,c\n2026-01-02,02/01/2026,True\n",
    "quotes": 'a,b,c\n"",,"two\nlines"\n5" disk,"said ""no""",  \n',
    "an index": ",a\n0,x\n1,y\n",
    "an index of an index": "Unnamed: 0,,a\n0,1,x\n",
    "duplicate names": "a,a,a.1\n1,2,3\n",
    "neutralised before": "'=a,b\n'=1,''=1\n",
    "a cell too many": "a,b,\n1,2,\n",
}


@pytest.mark.parametrize("text", UNTOUCHED.values(), ids=UNTOUCHED)
@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_columns_that_nobody_asked_about_keep_names_and_cells(server, text, suffix, tmp_path):
    header, *cells = csv.reader(text.splitlines(keepends=True))
    rows = [[*header, "review"], *([*row, "Good"] for row in cells)]
    source, target = tmp_path / f"in.{suffix}", tmp_path / f"out.{suffix}"
    delimiter = "\t" if suffix == "tsv" else ","
    with source.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter, lineterminator="\n").writerows(rows)
    assert main(arguments(server, source, target)) == 0
    with target.open(encoding="utf-8-sig", newline="") as file:
        written = list(csv.reader(file, delimiter=delimiter))
    assert [row[:-1] for row in written] == rows
    assert written[0][-1] == "sentiment"
    assert server.ledger.billed == 1


def test_an_input_may_be_a_pipe(server, source, tmp_path):
    """It is read once."""
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(source.read_bytes()))
    writer.start()
    assert main(arguments(server, pipe, tmp_path / "out.csv")) == 0
    writer.join()
    assert len(llmframe.read_csv(tmp_path / "out.csv")) == 3


def test_an_output_of_ours_is_an_input_again(server, source, tmp_path):
    """What was neutralised once is not neutralised twice."""
    first, second = tmp_path / "one.csv", tmp_path / "two.csv"
    main(arguments(server, source, first))
    assert main(arguments(server, first, second, "--overwrite", "all")) == 0
    pd.testing.assert_frame_equal(llmframe.read_csv(first), llmframe.read_csv(second))


def test_an_existing_file_is_kept_unless_forced(server, source, tmp_path, capsys):
    """Neither the input nor another file is overwritten unasked, and nothing is sent."""
    before = source.read_bytes()
    assert main(arguments(server, source, source)) == 2
    assert "--force" in capsys.readouterr().err
    assert source.read_bytes() == before
    assert server.ledger.requests == 0
    assert main(arguments(server, source, source, "--force")) == 0


@pytest.mark.parametrize("command", ["complete", "journal", "batches", "collect"])
def test_a_journal_that_is_no_file_is_refused_and_none_is_made(
    server, source, command, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    place = ["--journal", "mysql://me:secret@host/db"]
    more = arguments(server, source, tmp_path / "out.csv") if command == "complete" else [command]
    assert main([*more, *place]) == 2
    said = capsys.readouterr().err
    assert "journal must be a file's path" in said
    assert "secret" not in said
    assert sorted(tmp_path.iterdir()) == before
    assert server.ledger.requests == 0


def test_failed_rows_are_exit_code_1_and_the_rest_is_written(server, source, tmp_path, capsys):
    """One bad row costs none of the others; each unanswered row has its reason in a column."""
    server.faults = [Fault("context_length_exceeded", when=lambda body: "Bad" in str(body["messages"]))]
    target = tmp_path / "out.csv"
    assert main(arguments(server, source, target, "--error-into", "why")) == 1
    assert "context_length_exceeded" in capsys.readouterr().err
    frame = llmframe.read_csv(target)
    assert frame["sentiment"].notna().tolist() == [True, False, False]
    assert frame["why"].notna().tolist() == [False, True, True]


def test_a_bad_key_is_exit_code_3_and_nothing_is_written(source, tmp_path, capsys):
    """A run that stops early says what to change."""
    target = tmp_path / "out.csv"
    with LocalServer(api_key="right") as server:
        assert main(arguments(server, source, target)) == 3
    said = capsys.readouterr().err
    assert "OPENAI_API_KEY" in said
    assert "api_key" not in said
    assert "finished" not in said
    assert sorted(tmp_path.glob("out*")) == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--param", "temprature=0"], "temperature"),
        (["--timeout", "-1"], "timeout"),
        (["--overwrite", "missing", "--column", "nope"], "nope"),
    ],
)
def test_unusable_arguments_are_exit_code_2(server, source, tmp_path, capsys, more, said):
    """What cannot be carried out is said before anything is sent."""
    assert main(arguments(server, source, tmp_path / "out.csv", *more)) == 2
    assert said in capsys.readouterr().err
    assert server.ledger.requests == 0


@pytest.mark.slow
def test_interrupted_it_continues_where_it_was(tmp_path):
    """Ctrl-C is exit code 130; the same command then asks only for the rest."""
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    pd.DataFrame({"review": [f"Review number {number}" for number in range(120)]}).to_csv(source, index=False)
    environment = {**os.environ, "LLMFRAME_JOURNAL": str(tmp_path / "journal.sqlite")}
    with LocalServer(latency=0.2) as server:
        command = [
            sys.executable,
            "-m",
            "llmframe",
            *arguments(server, source, target, "--max-concurrency", "10"),
        ]
        first = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        assert server.ledger.wait_for(lambda ledger: ledger.answered >= 40, timeout=60)
        first.send_signal(signal.SIGINT)
        said = first.communicate(timeout=60)[1]
        assert first.returncode == 130, said
        assert said.count("; interrupted") == said.count("run the same command again to continue") == 1
        assert not target.exists()
        finished = llmframe.read_csv(tmp_path / "out.csv.partial")
        assert 20 <= len(finished) < 120  # some of the 40 are still on their way
        assert finished["sentiment"].notna().all()
        assert f"{len(finished)} finished rows are in {target}.partial" in said
        time.sleep(0.3)
        paid = server.ledger.billed
        second = subprocess.run(command, env=environment, check=False, timeout=120)
        assert second.returncode == 0
        assert server.ledger.billed <= 120 + 10
        assert paid < 120
    assert llmframe.read_csv(target)["sentiment"].notna().all()
    assert not (tmp_path / "out.csv.partial").exists()


def test_the_demo_says_that_its_answers_are_made_up(tmp_path, monkeypatch, capsys):
    """It needs no key and writes a file of its own each time, unless it is to replace one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY")
    assert main(["demo"]) == 0
    assert main(["demo"]) == 0
    assert "MADE UP" in capsys.readouterr().out
    assert main(["demo", "llmframe-demo.csv"]) == 2
    assert main(["demo", "llmframe-demo.csv", "--force"]) == 0
    assert main(["demo", "--force"]) == 0
    assert main(["demo", "-"]) == 0
    assert capsys.readouterr().out.count("\n") >= 300
    assert sorted(path.name for path in tmp_path.glob("*.csv")) == [
        "llmframe-demo-2.csv",
        "llmframe-demo.csv",
    ]


def test_a_live_demo_without_a_key_says_so_and_makes_nothing_up(tmp_path, monkeypatch, capsys):
    """Only the plain demo has made-up answers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY")
    assert main(["demo", "--live"]) == 3
    assert "OPENAI_API_KEY" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.csv"))


def test_the_journal_is_shown_exported_and_pruned(server, source, tmp_path, capsys):
    """It shows place, size and counts, exports a line of JSON for each answer, and is empty after pruning all."""
    main(arguments(server, source, tmp_path / "out.csv"))
    capsys.readouterr()
    assert main(["journal"]) == 0
    said = capsys.readouterr().out
    assert os.environ["LLMFRAME_JOURNAL"] in said
    assert "answers: 2" in said
    exported = tmp_path / "answers.jsonl"
    assert main(["journal", "export", str(exported)]) == 0
    lines = [json.loads(line) for line in exported.read_text().splitlines()]
    assert [line["body"]["object"] for line in lines] == ["chat.completion"] * 2
    assert main(["journal", "export", str(exported)]) == 2
    assert main(["journal", "prune", "--days", "1"]) == 0
    assert main(["journal", "prune", "--days", "0"]) == 0
    capsys.readouterr()
    main(["journal"])
    assert "answers: 0" in capsys.readouterr().out


def test_an_export_that_fails_leaves_its_target_alone(tmp_path, capsys):
    path, exported = tmp_path / "text.sqlite", tmp_path / "answers.jsonl"
    path.write_text("not a journal\n" * 50)
    assert main(["journal", "--journal", str(path), "export", str(exported)]) == 2
    assert not exported.exists()
    exported.write_text("precious")
    assert main(["journal", "--journal", str(path), "export", str(exported), "--force"]) == 2
    assert exported.read_text() == "precious"
    assert capsys.readouterr().err.count("is no journal") == 2


def test_a_journal_that_is_not_there_is_not_made(tmp_path, capsys):
    """Showing a journal creates no file."""
    path = tmp_path / "none.sqlite"
    assert main(["journal", "--journal", str(path)]) == 2
    assert str(path) in capsys.readouterr().err
    assert not path.exists()


def test_batches_are_submitted_listed_collected_and_cancelled(server, source, tmp_path, capsys, swift):
    """`--mode batch` waits and writes; what was left under way is seen and ended by the other commands."""
    target, place = tmp_path / "out.csv", ("--base-url", server.base_url)
    assert main(["batches", *place]) == 0
    assert "no batches" in capsys.readouterr().out
    assert main(arguments(server, source, target, "--mode", "batch")) == 0
    assert llmframe.read_csv(target)["sentiment"].notna().tolist() == [True, True, False]
    server.batches = Batches(seconds=86_400)
    run = llmframe.complete(
        ["Hello"], base_url=server.base_url, model="gpt-6-luna", mode="batch", wait=False, progress=False
    )
    assert server.ledger.wait_for(lambda ledger: ledger.batches_created == 2)
    wait_until(lambda: "validating" in set(llmframe.batches(base_url=server.base_url)["state"]))
    capsys.readouterr()
    assert main(["batches", *place]) == 0
    listed = capsys.readouterr().out
    assert "completed" in listed
    assert "validating" in listed
    name = llmframe.batches(base_url=server.base_url)["id"][1]
    assert main(["cancel", name, *place]) == 0
    assert f"{name}: cancel" in capsys.readouterr().out
    server.advance(2 * 86_400)
    with pytest.raises(llmframe.CompletionError):
        run.result(30)
    assert main(["collect", *place]) == 0
    assert "cancelled" in capsys.readouterr().out
    assert main(["cancel", "batch_none", *place]) == 2


def test_serve_runs_until_interrupted():
    """It prints its address, answers there, and ends with exit code 0."""
    command = [sys.executable, "-m", "llmframe", "serve", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = next(word for word in process.stdout.readline().split() if word.startswith("http"))
        answers = llmframe.complete(
            ["Hello"], base_url=address, api_key="any", model="gpt-6-luna", progress=False
        )
        assert answers[0]
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
        process.stdout.close()


def test_the_version_is_that_of_the_package():
    """`llmframe --version` and the package's metadata agree."""
    from importlib.metadata import version

    said = subprocess.run(
        [sys.executable, "-m", "llmframe", "--version"], capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == ["llmframe", version("llmframe")] == ["llmframe", llmframe.__version__]
    assert Path(llmframe.__file__).with_name("py.typed").exists()
