"""The command line: `llmframe complete`, `extract`, `classify`, `batches`, `collect`, `cancel`, `demo`, `journal` and `serve`."""

from llmframe.cli.entry import main

__all__ = ["main"]
