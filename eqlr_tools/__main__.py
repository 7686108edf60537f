"""`python -m eqlr_tools` is `eqlr`."""

from eqlr_tools.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
