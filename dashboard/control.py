"""The page that starts and stops a simulation or a replay and the flow on it, if it is switched on."""

from __future__ import annotations

import glob
import time

import streamlit as st

from dashboard.control_plan import CONFIGURED, FILES, REPLAY, SIMULATION, SOURCES, Asked, commands, prepare
from dashboard.door import within_reach
from dashboard.processes import Process, Processes
from dashboard.words import DETECTORS, span_of
from tapewatch.errors import UserError
from tapewatch.settings import Settings, load

#: Detectors that are off unless they are switched on.
_OFF = frozenset({"transformer", "value_novelty", "river"})
_SPEEDS = {SIMULATION: 60.0, FILES: 0.0, REPLAY: 0.0}
_SECONDS_BETWEEN_LOOKS = 2


@st.cache_resource(show_spinner=False)
def processes() -> Processes:
    """Return what all visitors' pages start and stop."""
    return Processes()


def page() -> None:
    """Draw the page, or say why it may not be used."""
    try:
        settings = load()
    except UserError as error:
        st.error(str(error), icon=":material/error:")
        return
    if not settings.dashboard.control:
        st.info("`dashboard.control = true` switches this page on.", icon=":material/lock:")
        return
    if settings.dashboard.token is None and within_reach(st.get_option("server.address")):
        st.error(
            "Other machines can reach this page, and it starts programs: set a password in "
            "`TAPEWATCH_DASHBOARD__TOKEN`, or listen on 127.0.0.1 (`--server.address 127.0.0.1`).",
            icon=":material/lock:",
        )
        return
    left, right = st.columns([2, 3], gap="medium")
    with left:
        _form(settings)
    with right:
        _running()


def _form(settings: Settings) -> None:
    known = list(dict.fromkeys([*DETECTORS, *settings.detectors]))
    on = [n for n in known if settings.detectors.get(n, {}).get("enabled", n not in _OFF)]
    with st.container(border=True):
        source = st.selectbox("Source", SOURCES, key="source", bind="query-params")
        paths = ""
        if source in (FILES, REPLAY):
            paths = st.text_area(
                "Files", "\n".join(settings.source.paths), placeholder="data/*.dbn.zst", key="paths",
                help="Files or patterns, one a line, as this server sees them",
            )  # fmt: skip
        speed = 0.0
        if source != CONFIGURED:
            speed = st.number_input(
                "Speed", 0.0, 1e6, _SPEEDS[source], key=f"speed-{source}",
                help="Times the market's own pace; 0 is as fast as it goes",
            )  # fmt: skip
        detectors = st.multiselect("Detectors", known, on, key="detectors")
        budget = st.number_input(
            "Alarms of a detector per key and day",
            0.01,
            1000.0,
            settings.alerts.per_key_per_day,
            key="budget",
        )
        busy = any(process.running for process in processes().all())
        if st.button("Start", icon=":material/play_arrow:", type="primary", disabled=busy, width="stretch"):
            asked = Asked(
                source, tuple(detectors), budget, speed, _paths(paths) if source == REPLAY else _lines(paths)
            )
            _start(asked, known, settings)
        st.caption(f"Results go where they are read: {' and '.join(settings.sinks.kinds)}.")


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _paths(text: str) -> tuple[str, ...]:
    """Return the files that lines of patterns stand for; what is no pattern stays."""
    return tuple(
        name
        for line in _lines(text)
        for name in (sorted(glob.glob(line)) if glob.has_magic(line) else [line])  # noqa: PTH207 - any place
    )


def _start(asked: Asked, known: list[str], settings: Settings) -> None:
    try:
        with st.spinner("Starting …"):
            planned = commands(asked, known, settings, processes().folder("flow"))
            prepare(asked, settings)
            for one in planned:
                processes().start(one.name, one.about, one.command, one.environment)
    except UserError as error:
        st.error(str(error), icon=":material/error:")
    else:
        st.rerun()


@st.fragment(run_every=_SECONDS_BETWEEN_LOOKS)
def _running() -> None:
    found = processes().all()
    if not found:
        st.info(
            "Nothing has been started here. Choose a source, then `Start`.", icon=":material/play_circle:"
        )
    busy = any(process.running for process in found)
    for process in found:
        _one(process)
    # The button that starts is outside of this part of the page.
    if st.session_state.get("busy", busy) != busy:
        st.session_state["busy"] = busy
        st.rerun()
    st.session_state["busy"] = busy


def _one(process: Process) -> None:
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(f"**{process.name}** {_state(process)}  \n{process.about}", width="content")
            if process.running and st.button("Stop", icon=":material/stop:", key=f"stop-{process.name}"):
                with st.spinner("Stopping …"):
                    processes().stop(process.name)
                st.rerun(scope="fragment")
        lines = processes().tail(process.name)
        if lines and any(lines):
            st.code("\n".join(lines), language=None, wrap_lines=True, height=260)
        else:
            st.caption("It has written nothing yet.")


def _state(process: Process) -> str:
    status = process.exit_status
    until = process.ended_at or time.time_ns()
    took = span_of(until - process.started_at)
    if status is None:
        return f":green-badge[running for {took}] process {process.popen.pid}"
    if status == 0:
        return f":blue-badge[done after {took}]"
    if status < 0:
        return f":orange-badge[ended by signal {-status} after {took}]"
    return f":red-badge[failed with status {status} after {took}]"
