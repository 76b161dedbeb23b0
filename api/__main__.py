"""``python -m api``: serve the results of the first store of ``sinks.kinds`` until a signal ends it."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from tapewatch.errors import UserError

#: What the extra ``api`` brings, by the names under which it is imported.
_NEEDED = ("fastapi", "prometheus_client", "structlog", "uvicorn", "websockets")


def main() -> None:
    """Serve; exit with 0 after a signal, with 2 and one line on stderr for a user's mistake."""
    try:
        _check()
        from api.server import serve
        from tapewatch.settings import load

        serve(load())
    except UserError as error:
        print(f"tapewatch: {error}", file=sys.stderr)
        sys.exit(2)


def _check() -> None:
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise UserError(
            f"`python -m api` needs {', '.join(missing)}, not installed here; run `make api`, or "
            "`pip install 'tapewatch[api]'`"
        )
    if len(sys.argv) > 1:
        raise UserError(
            f"`python -m api` takes no arguments, was given {sys.argv[1]!r}; the settings `api.host` and "
            "`api.port` say where it listens"
        )


if __name__ == "__main__":
    main()
