"""The live lane: a bounded pool of workers sends requests one by one, as its pace admits them.

Runs that share an account's limits exchange what they use through the journal.
"""

from llmframe._live.lane import LiveLane
from llmframe._live.limit_exchange import LimitExchange

__all__ = ["LimitExchange", "LiveLane"]
