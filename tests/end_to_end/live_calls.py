"""Live calls that may fail, and what their rows should hold."""

from __future__ import annotations

from helpers import answer

import llmframe


def complete(frame, **settings):
    """Run a call and return its run, and what it raised, if anything."""
    try:
        frame.llm.complete("q", into="a", **settings)
    except llmframe.LLMFrameError as error:
        return llmframe.last_run(), error
    return llmframe.last_run(), None


def answers(frame):
    """Return the answer of every row."""
    return [answer(text) for text in frame["q"]]
