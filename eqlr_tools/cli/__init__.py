"""The command line. `main` is the only place that turns exceptions into messages and exit codes."""

from eqlr_tools.cli.app import main

__all__ = ["main"]
