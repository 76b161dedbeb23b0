"""``python -m tapewatch COMMAND``: the command line, where its script is not on the path."""

from __future__ import annotations

from tapewatch.cli import main

if __name__ == "__main__":
    main()
