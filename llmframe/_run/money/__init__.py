"""Money: what answers cost by the price table of their day, and what a call will cost before it is made."""

from llmframe._run.money.account import Account
from llmframe._run.money.cap import cost_limit, make_budget
from llmframe._run.money.estimate import Estimate, Range
from llmframe._run.money.prices import Prices, cost_text, dollars

__all__ = ["Account", "Estimate", "Prices", "Range", "cost_limit", "cost_text", "dollars", "make_budget"]
