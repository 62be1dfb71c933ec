"""What the API's requests may contain, and its own errors about what they may not."""

from llmframe.testing._requests import rules
from llmframe.testing._requests.completions import check, parse

__all__ = ["check", "parse", "rules"]
