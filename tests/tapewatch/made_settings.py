"""A folder of settings for each test, and the line with which wrong ones are refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tapewatch.errors import UserError
from tapewatch.settings import load


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run each test in a folder of its own, without the settings of whoever runs it."""
    for variable in os.environ:
        if variable.upper().startswith("TAPEWATCH_"):
            monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def message() -> str:
    with pytest.raises(UserError) as caught:
        load()
    line = str(caught.value)
    assert "\n" not in line
    return line
