"""`llmframe classify`: labels as they are typed, their columns in files, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from cli.commands import classify, read_texts, write_reviews

from llmframe.cli import main
from llmframe.testing import Fault

pytestmark = pytest.mark.usefixtures("account")

LABELS = ["--labels", "praise,complaint"]


def test_a_csv_gets_one_column_with_one_of_the_labels():
    """A row that is not sent has none, and the other columns stay as they were."""
    write_reviews()
    assert classify(*LABELS) == 0
    cells = read_texts()
    assert list(cells) == ["zip", "review", "review_label"]
    assert cells["zip"] == ["007", "1.50", "NA", "8"]
    assert [label in ("praise", "complaint") for label in cells["review_label"]] == [True, True, False, True]


def test_parquet_gets_the_labels_as_categories_in_the_order_given():
    write_reviews("in.parquet")
    assert (
        classify("--labels", "praise, complaint", "--into", "kind", source="in.parquet", target="out.parquet")
        == 0
    )
    assert pd.read_parquet("out.parquet")["kind"].cat.categories.tolist() == ["praise", "complaint"]


@pytest.mark.parametrize(
    "labels",
    [["praise, or thanks", "complaint"], {"praise, or thanks": "It is liked.", "complaint": ""}],
    ids=["list", "descriptions"],
)
def test_labels_with_commas_stand_in_a_json_file(account, labels):
    Path("labels.json").write_text(json.dumps(labels), encoding="utf-8")
    write_reviews()
    assert classify("--labels", "labels.json") == 0
    assert set(read_texts()["review_label"]) <= {"praise, or thanks", "complaint", ""}


def test_a_template_needs_no_column():
    write_reviews()
    assert main(["classify", "in.csv", "out.csv", *LABELS, "--prompt", "{zip}: {review}", "--quiet"]) == 0
    assert list(read_texts()) == ["zip", "review", "label"]


def test_decisions_have_probabilities_and_a_threshold_leaves_out_what_is_unsure(account, capsys):
    """Which is counted, is no failure, and asks nothing anew."""
    write_reviews()
    own = ["--engine", "decisions", "--confidence", "--probabilities"]
    assert classify(*LABELS, *own) == 0
    cells = read_texts()
    assert list(cells)[2:] == ["review_label", "review_confidence", "review_p_praise", "review_p_complaint"]
    assert all(0.5 <= float(cell) <= 1 for cell in cells["review_confidence"] if cell)
    capsys.readouterr()
    assert classify(*LABELS, *own, "--threshold", "1", "--force") == 0
    assert "3 of 4 rows answered, 3 unsure, " in capsys.readouterr().err
    assert read_texts()["review_label"] == [""] * 4
    assert account.ledger.billed == 3


def test_votes_ask_several_times_and_their_share_is_the_confidence(account):
    write_reviews()
    assert classify(*LABELS, "--votes", "3", "--confidence", "--into", "kind") == 0
    assert account.ledger.billed == 9
    shares = [float(cell) for cell in read_texts()["kind_confidence"] if cell]
    assert all(round(share * 3, 9) in (2, 3) for share in shares)


def test_any_number_of_labels_is_a_column_of_truth_each():
    write_reviews()
    assert classify("--labels", "fast,cheap", "--multi", "--into", "is") == 0
    cells = read_texts()
    assert list(cells)[2:] == ["is_fast", "is_cheap"]
    assert set(cells["is_fast"]) <= {"True", "False", ""}


def test_another_label_takes_what_fits_none(account):
    account.answer = lambda _: json.dumps({"label": "neither"})
    write_reviews()
    assert classify(*LABELS, "--other", "neither") == 0
    assert read_texts()["review_label"] == ["neither", "neither", "", "neither"]


def test_a_batch_writes_the_same_column(account, swift):
    write_reviews()
    assert classify(*LABELS, "--mode", "batch") == 0
    assert account.ledger.batches_created == 1
    assert list(read_texts()) == ["zip", "review", "review_label"]


def test_missing_labels_are_filled_and_the_others_stay(account):
    write_reviews(kind=["complaint", None, None, "praise"])
    assert classify(*LABELS, "--into", "kind", "--overwrite", "missing") == 0
    cells = read_texts()["kind"]
    assert (cells[0], bool(cells[1]), cells[2:]) == ("complaint", True, ["", "praise"])
    assert account.ledger.billed == 1


def test_a_label_off_the_list_that_would_stay_is_refused(account, capsys):
    write_reviews(kind=["complain", None, None, None])
    assert classify(*LABELS, "--into", "kind", "--overwrite", "missing") == 2
    assert "'complain'" in capsys.readouterr().err
    assert account.ledger.requests == 0


@pytest.mark.parametrize("overwrite", [None, "missing", "all"])
@pytest.mark.parametrize("own", [["--votes", "3", "--confidence"], ["--multi"], []], ids=" ".join)
def test_a_run_that_stops_early_leaves_the_finished_rows_beside(account, own, overwrite, capsys):
    """Also where it was to replace the column, with its companions; the same command continues and removes them."""
    more = [*LABELS, "--into", "kind", *own]
    more += ["--overwrite", overwrite] if overwrite else []
    write_reviews(**({"kind": [None] * 4, "kind_praise": [None] * 4} if overwrite else {}))
    assert classify(*more, "--where", "zip == '1.50'") == 0
    account.faults = [Fault("insufficient_quota")]
    assert classify(*more, "--force") == 3
    assert "1 finished row is in out.csv.partial" in capsys.readouterr().err
    partial = read_texts("out.csv.partial")
    assert partial["zip"] == ["1.50"]
    assert partial["kind_praise" if "--multi" in own else "kind"] != [""]
    account.faults = []
    assert classify(*more, "--force") == 0
    assert not Path("out.csv.partial").exists()


def test_failed_rows_are_exit_code_1_and_the_rest_is_written(account, capsys):
    account.faults = [Fault("content_filter", when="Bad")]
    write_reviews()
    assert classify(*LABELS, "--error-into", "why") == 1
    assert "content_filter" in capsys.readouterr().err
    cells = read_texts()
    assert [bool(label) for label in cells["review_label"]] == [True, False, False, True]
    assert cells["why"][1].startswith("content_filter: ")


def test_labels_that_one_engine_gave_are_not_asked_of_the_other(account, capsys):
    write_reviews()
    assert classify(*LABELS, "--engine", "decisions") == 0
    assert classify(*LABELS, "--force") == 2
    said = capsys.readouterr().err
    assert "pass --engine decisions to go on with it, or --engine chat to ask all rows anew" in said
    assert account.ledger.billed == 3


FILES = {
    "half.json": "[",
    "text.json": '"praise"',
    "number.json": '{"a": 1, "b": "two"}',
    "mixed.json": '["a", 5]',
    "twice.json": '{"a": "one", "a": "two"}',
}


@pytest.mark.parametrize(
    ("labels", "more", "said"),
    [
        ("praise", [], "--labels: there must be at least 2; got 'praise'; write another one, or --other other"),
        ("praise,Praise", [], "--labels: 'praise' and 'Praise' are the same label"),
        ("praise,", [], "--labels: a label must not be blank"),
        ("none.json", [], "--labels: there is no file none.json"),
        ("half.json", [], "--labels: half.json cannot be read as JSON"),
        ("text.json", [], "--labels: text.json must hold a list of labels, or an object with a description for each; it holds text"),
        ("number.json", [], "--labels: the description of 'a' must be text; got 1"),
        ("mixed.json", [], "--labels: a label must be text; got 5"),
        ("twice.json", [], "'a' is there twice"),
        ("a,b", ["--confidence"], "--confidence: a chat completion states no probabilities (engine chat: the server is not OpenAI's own); pass --votes 5"),
        ("a,b", ["--engine", "decisions", "--votes", "3"], "--engine: 'decisions' is not possible with --votes 3; leave it out, or pass --engine chat"),
        ("a,b", ["--engine", "decisions", "--mode", "batch"], "not possible with --mode batch"),
        ("a,b", ["--engine", "decisions", "--param", "temperature=0"], "not possible with --param temperature"),
        ("a,b", ["--threshold", "2", "--votes", "3"], "--threshold must be a probability"),
        ("a,b", ["--votes", "1"], "--votes must be a whole number of 2 to 255"),
        ("a,b", ["--other", " "], "--other must be a label"),
        ("a,b", ["--into", "zip"], "write elsewhere with --into, or pass --overwrite all"),
        ("a,b", ["--param", "tools=[]"], "classify asks for its schema itself"),
    ],
)  # fmt: skip
def test_what_cannot_be_carried_out_is_refused_before_anything_is_sent(account, labels, more, said, capsys):
    """In the command line's own words, and nothing is written."""
    for name, text in FILES.items():
        Path(name).write_text(text, encoding="utf-8")
    write_reviews()
    assert classify("--labels", labels, *more) == 2
    assert said in capsys.readouterr().err
    assert account.ledger.requests == 0
    assert not list(Path().glob("out*"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "required: --labels"),
        ([*LABELS, "--prefix", "x_"], "unrecognized arguments: --prefix"),
        ([*LABELS, "--engine", "oracle"], "invalid choice: 'oracle'"),
        ([*LABELS, "--param", "votes=3"], "write --votes"),
        ([*LABELS, "--param", "multi=true"], "write --multi"),
        ([*LABELS, "--param", "reask=3"], "it is an option of llmframe extract"),
        ([*LABELS, "--votes", "many"], "invalid int value"),
    ],
)
def test_options_that_cannot_be_meant_are_refused_by_the_parser(more, said, capsys):
    with pytest.raises(SystemExit) as ended:
        classify(*more)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
