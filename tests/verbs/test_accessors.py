"""How a frame or a Series gets to its verbs, also where another package has taken the name."""

from __future__ import annotations

import subprocess
import sys

import pandas as pd
import pytest

import llmframe

TAKEN = """
import warnings
import pandas as pd

@pd.api.extensions.register_dataframe_accessor("llm")
class Theirs:
    def __init__(self, frame):
        pass

with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    import llmframe
(line,) = [str(each.message) for each in said]
assert line == "__main__ has taken DataFrame.llm; llmframe's is llmframe.llm(…)", line
assert said[0].filename == __file__
df = pd.DataFrame({"review": ["a"]})
assert type(df.llm) is Theirs
assert type(llmframe.llm(df)).__name__ == "DataFrameLLM"
assert type(df["review"].llm).__name__ == "SeriesLLM"
"""


def test_a_name_that_another_package_has_taken_stays_its_own_and_one_line_says_so(tmp_path):
    script = tmp_path / "taken.py"
    script.write_text(TAKEN, "utf-8")
    subprocess.run([sys.executable, script], check=True)


@pytest.mark.parametrize("data", [pd.DataFrame({"a": ["x"]}), pd.Series(["x"])], ids=["frame", "series"])
def test_the_function_gives_what_the_accessor_is(data):
    assert type(llmframe.llm(data)) is type(data.llm)


@pytest.mark.parametrize("data", [["x"], "x", None, pd.Index(["x"])], ids=repr)
def test_what_is_no_frame_or_series_is_refused_with_the_way_on(data):
    with pytest.raises(
        TypeError, match=r"^data must be a DataFrame or a Series; got .* llmframe\.complete\("
    ):
        llmframe.llm(data)
