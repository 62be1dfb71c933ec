"""The command line: `llmframe complete`, `batches`, `collect`, `cancel`, `demo`, `journal` and `serve`."""

from llmframe.cli.entry import main

__all__ = ["main"]
