"""The notebooks in `notebooks/`, on a real kernel."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))

HOLDS_AT_THE_END = {
    "beyond_one_machine": """
assert found.failures["label"].tolist() == [18]
assert summaries.columns[-1] == "summary" and french.columns[-1] == "french"
""",
    "extract": """
assert df[list(SCHEMA)].dtypes.astype(str).tolist() == ["str", "float64", "category", "datetime64[us]"]
assert df["bought"].isna().all() and df.loc[df["review"].isna(), list(SCHEMA)].isna().all(axis=None)
assert 0 < unfounded.sum() < df["complaint.found"].sum()
assert remarks["verdict"].isin(["praise", "complaint"]).sum() > df["review"].notna().sum()
assert run.reasked["position"].tolist() == [3, 21] and run.failures["position"].tolist() == [21]
assert llmframe.last_run().sent == 1 and llmframe.last_run().failed == 0
assert again.equals(df[typed])
""",
    "labels": """
assert run.sent == 0 and run.unsure == len(unsure) > 0
assert unsure["tone_confidence"].max() < 0.8
assert len(shown) == 6 and not set(checked.index) & set(by_hand.index[:6])
assert 0 < len(differ) < len(checked) == 24
assert worth(0.8)["right"] > worth(0)["right"]
assert some["tone"].cat.categories.tolist() == df["tone"].cat.categories.tolist() == list(LABELS)
assert {"late_confidence", "topic_confidence", "urgency_score"} < set(df)
""",
}
"""What a notebook is about, as a last cell that checks it; the texts that it shows may change."""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_from_top_to_bottom_and_leaves_nothing_behind(path, tmp_path):
    """A newcomer's "Run All" succeeds without a key, and shows what the notebook tells."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(HOLDS_AT_THE_END.get(path.stem, "")))
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_stored_with_outputs_and_without_errors(path):
    """It reads well on a code host: results are there, widgets and paths are not."""
    notebook = nbformat.read(path, as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert len(outputs) > 10
    assert all(output.output_type != "error" for output in outputs)
    stored = path.read_text(encoding="utf-8")
    assert "widget-view" not in stored
    assert "/tmp" not in stored
    assert "\\r" not in stored


def _shown(name, cell_id):
    """Return what a cell of a stored notebook has as its result."""
    notebook = nbformat.read(NOTEBOOKS[0].with_name(f"{name}.ipynb"), as_version=4)
    (cell,) = (cell for cell in notebook.cells if cell.get("id") == cell_id)
    (result,) = (output for output in cell.outputs if output.output_type == "execute_result")
    return result.data["text/plain"]


def test_a_field_more_leaves_the_others_as_they_are():
    assert _shown("extract", "field").startswith("(True, ['returned'")
