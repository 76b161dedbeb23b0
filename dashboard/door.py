"""The door: the password that the pages ask for when ``dashboard.token`` is set."""

from __future__ import annotations

import hmac
import ipaddress
import threading
import time

import streamlit as st

from tapewatch.settings import DashboardSettings

_ENTERED = "entered"
#: Seconds that each guess takes, whoever makes it; guesses stand in one line.
_SECONDS_A_GUESS = 0.5
_line = threading.Lock()


def entered(settings: DashboardSettings) -> bool:
    """Return whether this visitor may come in; if not, ask for the password."""
    if settings.token is None or st.session_state.get(_ENTERED):
        return True
    with st.form("door", width=420):
        st.subheader("tapewatch")
        given = st.text_input("Password", type="password", autocomplete="current-password")
        asked = st.form_submit_button("Enter", type="primary")
    if not asked:
        return False
    with _line:
        right = hmac.compare_digest(given.encode(), settings.token.get_secret_value().encode())
        if not right:
            time.sleep(_SECONDS_A_GUESS)
    if right:
        st.session_state[_ENTERED] = True
        st.rerun()
    st.error("That is not the password; it is what `TAPEWATCH_DASHBOARD__TOKEN` was set to.")
    return False


def within_reach(address: str | None) -> bool:
    """Return whether others than this machine can reach an address that is listened on.

    >>> within_reach("127.0.0.1"), within_reach("::1"), within_reach("localhost"), within_reach(None)
    (False, False, False, True)
    """
    if address == "localhost":
        return False
    try:
        return not ipaddress.ip_address(address or "0.0.0.0").is_loopback  # noqa: S104 - Streamlit's default
    except ValueError:
        return True
