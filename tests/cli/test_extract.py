"""`llmframe extract`: schemas as they are typed, typed columns in files, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from cli.commands import extract, read_texts, write_reviews

import llmframe
from llmframe.cli import main
from llmframe.testing import Fault, LocalServer

pytestmark = pytest.mark.usefixtures("account")

ANSWER = {
    "hours": 5.5,
    "stars": 4,
    "broken": True,
    "day": "2026-01-31",
    "price": "12.50",
    "tone": "calm",
    "parts": [{"name": "lid"}, {"name": None}],
    "maker": {"name": "=Acme"},
}
MODEL = """
from datetime import date
from decimal import Decimal
from typing import Literal

from pydantic import BaseModel

print("imported")


class Part(BaseModel):
    name: str | None


class Review(BaseModel):
    hours: float | None
    stars: int | None
    broken: bool | None
    day: date | None
    price: Decimal | None
    tone: Literal["angry", "calm"] | None
    parts: list[Part]
    maker: Part


class Outer:
    class Inner(BaseModel):
        part: str | None


FIELDS = {"hours": float}
"""


@pytest.fixture
def model():
    """Write a module into the current folder, of a name that no other test has imported; return its name."""
    name = f"model_{Path.cwd().name.replace('-', '_')}"
    Path(f"{name}.py").write_text(MODEL, encoding="utf-8")
    yield name
    sys.modules.pop(name, None)


def answer_all(server, answer=ANSWER):
    server.answer = lambda _: json.dumps(answer)


def test_a_csv_gets_a_column_for_each_field_and_nested_values_as_json(account, model):
    """The other columns stay as they were, and a row that is not sent has none."""
    answer_all(account)
    write_reviews()
    assert extract("--schema", f"{model}:Review", "--prefix", "x_") == 0
    cells = read_texts()
    assert cells["zip"] == ["007", "1.50", "NA", "8"]
    assert cells["review"][1] == "'=Bad after 3 hours"
    assert {name: column[:3] for name, column in cells.items() if name.startswith("x_")} == {
        "x_hours": ["5.5", "5.5", ""],
        "x_stars": ["4", "4", ""],
        "x_broken": ["True", "True", ""],
        "x_day": ["2026-01-31", "2026-01-31", ""],
        "x_price": ["12.50", "12.50", ""],
        "x_tone": ["calm", "calm", ""],
        "x_parts": ['[{"name":"lid"},{"name":null}]', '[{"name":"lid"},{"name":null}]', ""],
        "x_maker.name": ["'=Acme", "'=Acme", ""],
    }


def test_parquet_gets_types_and_jsonl_gets_values(account, model):
    answer_all(account)
    write_reviews()
    assert extract("--schema", f"{model}:Review", target="out.parquet") == 0
    frame = pd.read_parquet("out.parquet")
    assert frame["hours"].tolist()[:2] == [5.5, 5.5]
    assert str(frame["day"].dtype) == "datetime64[us]"
    assert frame["tone"].cat.categories.tolist() == ["angry", "calm"]
    assert [list(parts) for parts in frame["parts"][:1]] == [ANSWER["parts"]]
    assert extract("--schema", f"{model}:Review", target="out.jsonl") == 0
    first = json.loads(Path("out.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert (first["stars"], first["broken"], first["parts"]) == (4, True, ANSWER["parts"])
    assert first["day"].startswith("2026-01-31")
    assert account.ledger.billed == 3


SCHEMAS = {
    "questions": {"part": "Which part is at fault?", "tone": "How does the customer sound?"},
    "names": ["part", "tone"],
    "a JSON Schema": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"part": {"type": ["string", "null"]}, "tone": {"enum": ["angry", "calm", None]}},
    },
}


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_schema_may_be_a_json_file(schema, encoding):
    Path("fields.json").write_text(json.dumps(schema), encoding=encoding)
    write_reviews()
    assert extract("--schema", "fields.json") == 0
    assert list(read_texts()) == ["zip", "review", "part", "tone"]


def test_names_with_commas_between_them_are_fields_of_text():
    write_reviews()
    assert extract("--schema", "part, tone") == 0
    assert list(read_texts()) == ["zip", "review", "part", "tone"]


@pytest.mark.parametrize(("name", "column"), [("FIELDS", "hours"), ("Outer.Inner", "part")])
def test_a_module_may_hold_a_dict_of_fields_or_a_class_in_a_class(model, name, column):
    write_reviews()
    assert extract("--schema", f"{model}:{name}") == 0
    assert list(read_texts()) == ["zip", "review", column]


def test_a_template_needs_no_column():
    write_reviews()
    assert (
        main(["extract", "in.csv", "out.csv", "--schema", "a,b", "--prompt", "{zip}: {review}", "--quiet"])
        == 0
    )
    assert list(read_texts()) == ["zip", "review", "a", "b"]


def test_an_installed_command_imports_from_the_current_folder_and_stdout_has_the_file_alone(account, model):
    """What the module prints goes to stderr, and nothing of the folder stays ahead of other modules."""
    answer_all(account)
    write_reviews()
    program = "import sys; sys.path = [p for p in sys.path if p]; from llmframe.cli import main; code = main(); assert '' not in sys.path; sys.exit(code)"
    command = ["extract", "in.csv", "-", "--column", "review", "--schema", f"{model}:Review", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, *command],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.startswith('"zip","review",hours,')
    assert "imported" not in done.stdout
    assert "imported" in done.stderr


def test_quotes_are_columns_beside_the_fields():
    write_reviews()
    assert extract("--schema", "part,tone", "--quotes") == 0
    assert {"part.quote", "part.found"} <= set(read_texts())


@pytest.mark.parametrize(("reask", "billed"), [([], 3), (["--reask", "0"], 2), (["--reask", "2"], 4)])
def test_an_answer_that_never_fits_is_that_rows_failure_after_so_many_questions(
    account, capsys, reask, billed
):
    account.answer = lambda body: "no" if "Bad" in str(body) else json.dumps({"part": "lid", "tone": None})
    write_reviews(reviews=["Bad", "Good"])
    assert extract("--schema", "part,tone", "--error-into", "why", *reask) == 1
    assert account.ledger.billed == billed
    assert read_texts()["why"][0].startswith("not_json: ")
    said = capsys.readouterr().err
    assert "1 × not_json" in said  # noqa: RUF001
    assert "model=" not in said


def test_some_rows_are_asked_and_the_same_command_with_all_asks_only_the_others(account, capsys):
    write_reviews(stars=["5", "1", "2", "1"])
    assert extract("--schema", "part,tone", "--where", "stars < 5", "--limit", "1") == 0
    assert account.ledger.billed == 1
    assert extract("--schema", "part,tone", "--force") == 0
    assert account.ledger.billed == 3
    assert "1 requests from the journal" in capsys.readouterr().err


def test_a_batch_writes_the_same_columns(account, swift):
    write_reviews()
    assert extract("--schema", "part,tone", "--mode", "batch") == 0
    assert account.ledger.batches_created == 1
    assert list(read_texts()) == ["zip", "review", "part", "tone"]


@pytest.mark.parametrize("source", ["in.csv", "in.tsv", "in.jsonl", "in.parquet"])
@pytest.mark.parametrize("overwrite", [None, "missing", "all"])
def test_a_run_that_stops_early_leaves_the_finished_rows_beside(account, model, source, overwrite, capsys):
    """Also where it was to replace columns; the same command continues and removes them."""
    answer_all(account)
    empty = {name: [None] * 4 for name in ("hours", "tone")} if overwrite else {}
    write_reviews(source, **empty)
    more = ["--schema", f"{model}:Review", *(["--overwrite", overwrite] if overwrite else [])]
    assert extract(*more, "--limit", "1", source=source) == 0
    account.faults = [Fault("insufficient_quota")]
    assert extract(*more, "--force", source=source) == 3
    said = capsys.readouterr().err
    assert "1 finished row is in out.csv.partial" in said
    partial = read_texts("out.csv.partial")
    assert (partial["zip"], partial["hours"], partial["tone"]) == (["007"], ["5.5"], ["calm"])
    account.faults = []
    assert extract(*more, "--force", source=source) == 0
    assert not Path("out.csv.partial").exists()
    assert read_texts()["hours"] == ["5.5", "5.5", "", "5.5"]


@pytest.mark.slow
def test_interrupted_it_continues_where_it_was():
    """Ctrl-C is exit code 130; the finished rows are beside, and the same command asks only for the rest."""
    write_reviews("in.csv", reviews=[f"Review number {number}" for number in range(4)])
    rows = pd.DataFrame({"review": [f"Review number {number}" for number in range(80)]})
    rows.to_csv("in.csv", index=False)
    with LocalServer(latency=0.2) as server:
        command = [sys.executable, "-m", "llmframe", "extract", "in.csv", "out.csv", "--column", "review"]
        command += ["--schema", "part,tone", "--max-concurrency", "10", "--base-url", server.base_url]
        first = subprocess.Popen(command, env=dict(os.environ), stderr=subprocess.PIPE, text=True)
        assert server.ledger.wait_for(lambda ledger: ledger.answered >= 30, timeout=60)
        first.send_signal(signal.SIGINT)
        said = first.communicate(timeout=60)[1]
        assert first.returncode == 130, said
        assert "run the same command again to continue" in said
        finished = read_texts("out.csv.partial")
        assert 10 <= len(finished["review"]) < 80
        assert all(map(any, zip(finished["part"], finished["tone"], strict=True)))
        subprocess.run(command, check=True, timeout=120, capture_output=True)
        assert server.ledger.billed <= 80 + 10
    assert len(read_texts()["review"]) == 80
    assert not Path("out.csv.partial").exists()


FILLED = {
    "hours": (["7.0", ""], ["7.0", "5.5"]),
    "stars": (["2", ""], ["2", "4"]),
    "broken": (["False", ""], ["False", "True"]),
    "day": (["2025-12-24", ""], ["2025-12-24", "2026-01-31"]),
    "price": (["9.90", ""], ["9.90", "12.50"]),
    "tone": (["angry", ""], ["angry", "calm"]),
    "parts": (['[{"name":"cap"}]', ""], ['[{"name":"cap"}]', '[{"name":"lid"},{"name":null}]']),
}


def test_missing_cells_are_filled_and_the_text_of_the_others_stays_what_it_says(account, model):
    """In a CSV, whose cells are text: numbers, truth values, dates and lists among it are read as such."""
    answer_all(account)
    columns = {name: before for name, (before, _) in FILLED.items()}
    write_reviews(reviews=["a", "b"], **columns)
    assert extract("--schema", f"{model}:Review", "--overwrite", "missing") == 0
    assert {name: cells for name, cells in read_texts().items() if name in FILLED} == {
        name: after for name, (_, after) in FILLED.items()
    }


def test_text_that_is_none_of_what_a_column_is_to_hold_is_refused_and_shown(account, model, capsys):
    write_reviews(reviews=["a", "b"], hours=["long", None], tone=["calm", None])
    assert extract("--schema", f"{model}:Review", "--overwrite", "missing") == 2
    said = capsys.readouterr().err
    assert "--prefix: the column 'hours'" in said
    assert "'long'" in said
    assert "write elsewhere with --prefix, or pass --overwrite all without --where" in said
    assert account.ledger.requests == 0


MODULES = {
    "broken": "raise RuntimeError('no licence')",
    "halved": "class Review(",
    "needy": "import no_such_package_at_all",
    "empty": "",
    "named": "Review = 5\nReviews = 6\n",
}
FILES = {
    "half.json": '{"a": ',
    "number.json": "5",
    "twice.json": '{"a": "one", "a": "two"}',
    "nested.json": '{"hours": {"type": "number"}}',
    "mixed.json": '["a", 5]',
    "open.json": '{"type": "object", "properties": {"a": {"type": "object"}}}',
    "none.json": "{}",
}


@pytest.mark.parametrize(
    ("schema", "more", "said"),
    [
        ("Review", [], "--schema: 'Review' is none; write module:Model"),
        ("model.py:Review", [], "the module without .py"),
        ("a:b,c", [], "--schema: 'a:b,c' is none"),
        ("no_such_module:Review", [], "--schema: there is no module 'no_such_module' in this folder"),
        ("no_such.inner:Review", [], "--schema: there is no module 'no_such' in this folder"),
        ("broken:Review", [], "--schema: broken cannot be imported: RuntimeError: no licence"),
        ("halved:Review", [], "--schema: halved cannot be imported: SyntaxError"),
        ("needy:Review", [], "--schema: needy cannot be imported: No module named 'no_such_package_at_all'"),
        ("empty:Review", [], "--schema: there is no 'Review' in empty"),
        ("named:Reviw", [], "--schema: there is no 'Reviw' in named; the nearest is 'Review'"),
        ("named:Review", [], "--schema must be a list of fields, a dict"),
        ("fields.json", [], "--schema: there is no file fields.json"),
        ("folder.json", [], "--schema: folder.json is a folder"),
        ("half.json", [], "--schema: half.json cannot be read as JSON"),
        ("number.json", [], "it holds a number"),
        ("twice.json", [], "twice.json cannot be read as JSON: 'a' is there twice"),
        ("nested.json", [], 'a JSON Schema with "type": "object" and "properties"; its \'hours\' is an object'),
        ("mixed.json", [], "one of its items is a number"),
        ("open.json", [], "--schema: a"),
        ("none.json", [], "--schema: it names no fields"),
        ("a,,b", [], "--schema: a field's name must be text that is not blank"),
        ("a,a", [], "--schema: 'a' is there twice"),
        ("zip,b", [], "--prefix: the column 'zip' is already there"),
        ("a,b", ["--reask", "-1"], "--reask must be a whole number"),
        ("a,b", ["--param", "response_format={}"], "extract asks for its schema itself"),
        ("a,b", ["--error-into", "a"], "--error-into and prefix are both 'a'"),
    ],
)  # fmt: skip
def test_what_cannot_be_carried_out_is_refused_before_anything_is_sent(account, schema, more, said, capsys):
    """In the command line's own words, and nothing is written."""
    for name, text in MODULES.items():
        Path(f"{name}.py").write_text(text, encoding="utf-8")
        sys.modules.pop(name, None)
    for name, text in FILES.items():
        Path(name).write_text(text, encoding="utf-8")
    Path("folder.json").mkdir()
    write_reviews()
    path = list(sys.path)
    assert extract("--schema", schema, *more) == 2
    words = capsys.readouterr().err
    assert said in words
    assert "prefix=" not in words
    assert "schema=" not in words
    assert account.ledger.requests == 0
    assert not list(Path().glob("out*"))
    assert sys.path == path


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "required: --schema"),
        (["--schema", "a,b", "--into", "x"], "unrecognized arguments: --into"),
        (["--schema", "a,b", "--param", "prefix=x"], "write --prefix"),
        (["--schema", "a,b", "--param", "labels=x"], "it is an option of llmframe classify"),
        (["--schema", "a,b", "--param", "examples=[]"], "that is for Python alone"),
        (["--schema", "a,b", "--reask", "often"], "invalid int value"),
    ],
)
def test_options_that_cannot_be_meant_are_refused_by_the_parser(more, said, capsys):
    with pytest.raises(SystemExit) as ended:
        extract(*more)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_notice_of_what_may_be_invented_is_said_unless_it_is_to_be_quiet(model, capsys):
    write_reviews()
    command = ["extract", "in.csv", "out.csv", "--column", "review", "--schema", f"{model}:Review"]
    assert main(command) == 0
    assert "parts, maker may not be null" in capsys.readouterr().err
    assert main([*command, "--force", "--quiet"]) == 0
    assert "may not be null" not in capsys.readouterr().err


def test_what_it_writes_llmframe_reads(account, model):
    answer_all(account)
    write_reviews()
    assert extract("--schema", f"{model}:Review") == 0
    frame = llmframe.read_csv("out.csv")
    assert frame["broken"].tolist()[:2] == [True, True]
    assert json.loads(frame["parts"][0]) == ANSWER["parts"]
