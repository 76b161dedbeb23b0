"""A signal raises a flag; a mistake is told last, in one line, with status 2."""

from __future__ import annotations

import signal
import subprocess
import sys


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"from tapewatch import stopping\n{code}"],
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip


def test_a_signal_raises_the_flag_and_nothing_else() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        ended = run(
            f"import os\nstopping.install()\nassert not stopping.stopping()\nos.kill(os.getpid(), {int(number)})\n"
            "assert stopping.stopping()\nprint('went on')"
        )
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "went on\n", "")


def test_a_second_signal_ends_the_process_unless_it_comes_at_once() -> None:
    # `timeout` signals its command and then the group that this is in: both mean the same.
    once = "import os, time\nstopping._ONE_WISH_SECONDS = {}\nstopping.install()\nos.kill(os.getpid(), 15)\n"
    again = "time.sleep(0.01)\nos.kill(os.getpid(), 15)\nprint('went on')"
    ended = run(once.format(60) + again)
    assert (ended.returncode, ended.stdout) == (0, "went on\n")
    ended = run(once.format(0.001) + again)
    assert ended.returncode == -signal.SIGTERM
    assert ended.stdout == ""


def test_a_signal_after_a_mistake_waits_for_what_is_being_written() -> None:
    ended = run(
        "import os\nstopping.install()\nstopping.fail('a.dbn is damaged')\nos.kill(os.getpid(), 15)\n"
        "print('what came before')"
    )
    assert (ended.returncode, ended.stdout) == (2, "what came before\n")


def test_a_failure_is_told_last_with_status_2() -> None:
    ended = run("stopping.fail('a.dbn is damaged')\nassert stopping.stopping()\nprint('what came before')")
    assert ended.returncode == 2
    assert ended.stdout == "what came before\n"
    assert ended.stderr == "tapewatch: a.dbn is damaged\n"


def test_an_abort_is_one_line_at_once_with_its_status() -> None:
    for status in (1, 2):
        ended = run(
            "import atexit, threading\natexit.register(print, 'snapshot')\n"
            f"threads = [threading.Thread(target=stopping.abort, args=('the disk is full', {status})) for _ in range(3)]\n"
            "for t in threads: t.start()\nfor t in threads: t.join()\nprint('went on')"
        )
        assert ended.returncode == status
        assert ended.stdout == ""
        assert ended.stderr == "tapewatch: the disk is full\n"


def test_install_outside_the_main_thread_does_nothing() -> None:
    ended = run(
        "import threading\nt = threading.Thread(target=stopping.install)\nt.start()\nt.join()\nprint('fine')"
    )
    assert (ended.returncode, ended.stdout) == (0, "fine\n")
