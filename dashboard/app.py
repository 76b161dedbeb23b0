"""The pages in the browser: ``make dashboard``, or ``streamlit run dashboard/app.py`` where the flow runs.

They read the first store of ``sinks.kinds``, and ask for no more than they show.
"""

from __future__ import annotations

import streamlit as st

from dashboard import routes
from dashboard.door import entered
from tapewatch.errors import UserError
from tapewatch.settings import load

#: Without a pointer the buttons of a table are always shown, above it: over whatever is there.
_ROOM_FOR_BUTTONS = (
    "<style>@media (hover: none) { [data-testid=stElementContainer]:has([data-testid=stDataFrame]) "
    "{ margin-top: 1.75rem } }</style>"
)


def main() -> None:
    """Draw the page that the address names."""
    st.set_page_config("tapewatch", page_icon=":material/monitoring:", layout="wide")
    st.html(_ROOM_FOR_BUTTONS)
    try:
        settings = load().dashboard
    except UserError as error:
        st.error(f"{error}", icon=":material/error:")
        return
    shown = st.navigation(routes.pages(control=settings.control), position="top")
    if entered(settings):
        shown.run()


main()
