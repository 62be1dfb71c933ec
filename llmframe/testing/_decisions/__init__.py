"""Decisions as a pure function of their request: questions about an input, answered with probabilities."""

from llmframe.testing._decisions.decisions import Decision, decide, decision_body, with_refusals
from llmframe.testing._decisions.inputs import input_texts

__all__ = ["Decision", "decide", "decision_body", "input_texts", "with_refusals"]
