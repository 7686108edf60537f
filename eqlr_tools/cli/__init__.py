"""The command line. `main` is the only place that turns exceptions into messages and exit codes."""

import sys

from eqlr_tools.cli.interrupts import INTERRUPTED, SENTENCE


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    try:
        from eqlr_tools.cli import app
    except KeyboardInterrupt:  # Ctrl-C may come before there is an application.
        print(SENTENCE, file=sys.stderr)
        return INTERRUPTED
    return app.main(arguments)


__all__ = ["main"]
