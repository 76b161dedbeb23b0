"""Log lines on stderr: a time, a level, and a sentence."""

from __future__ import annotations

import logging
import sys
import time


def _logger() -> logging.Logger:
    logger = logging.getLogger("tapewatch")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        formatter = logging.Formatter(
            "%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S"
        )
        formatter.converter = time.gmtime
        handler.setFormatter(formatter)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    return logger


log = _logger()
