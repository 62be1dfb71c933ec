"""Money: what answers cost by the price table of their day, and the numbers behind what a call will cost."""

from llmframe._run.money.account import Account
from llmframe._run.money.cap import cost_limit, make_budget
from llmframe._run.money.forecast import Line, line_through, output_per_answer, share_of
from llmframe._run.money.prices import Price, Prices, cost_text, dollars
from llmframe._run.money.tokens import Counting, count_requests, counting, has_media

__all__ = [
    "Account",
    "Counting",
    "Line",
    "Price",
    "Prices",
    "cost_limit",
    "cost_text",
    "count_requests",
    "counting",
    "dollars",
    "has_media",
    "line_through",
    "make_budget",
    "output_per_answer",
    "share_of",
]
