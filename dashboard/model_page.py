"""The page of models: what evaluations found, the cards of models, drift of scores."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard import evaluation_charts as charts
from dashboard.colours import badge, colours
from dashboard.drift import show_drift
from dashboard.evaluation import ANY, Evaluation, InjectedBars, Nab, RealDays, evaluations
from dashboard.model_cards import show_cards
from dashboard.model_nab import show_nab
from dashboard.reading import tell
from dashboard.words import plain
from tapewatch.errors import UserError
from tapewatch.settings import Settings, load

COMPARISON, CURVES, CONFUSION, REAL, NUMENTA, CARDS, DRIFT = (
    "Comparison", "Curves", "Confusion", "Real days", "Numenta", "Cards", "Drift"
)  # fmt: skip
_VIEWS = (COMPARISON, CURVES, CONFUSION, REAL, NUMENTA, CARDS, DRIFT)
#: Views of other evaluations than injected bars, and the commands that make these.
_STUDIES: dict[str, tuple[type[Evaluation], str]] = {REAL: (RealDays, "real"), NUMENTA: (Nab, "nab")}
#: Shown at first, of those that there are; the best baseline comes with them.
_FIRST = ("ensemble", "tail_combination", "autoencoder", "isolation_forest")
_MOST_LINES = 8
_ALARMS = {
    "its own threshold": "own_threshold", "one false episode a day": "one_false_episode_per_day",
    "the threshold F1 picks": "threshold_by_f1",
}  # fmt: skip
_MEASURES = {
    "precision": "precision", "recall": "recall", "f1": "F1", "f2": "F2", "f4": "F4",
    "delay_bars": "delay, bars", "false_per_day": "false a day",
}  # fmt: skip
_RATES = {"first_day": "first days", "later_days": "later days", "all_days": "all"}


def page() -> None:
    """Draw the page."""
    # On a phone all views are to be seen.
    st.html(
        "<style>@media (max-width: 640px) { [data-testid=stButtonGroup] button "
        "{ padding-inline: 0.45rem; min-width: 0 } }</style>"
    )
    view = st.segmented_control(
        "Show", _VIEWS, default=COMPARISON, key="view", bind="query-params", required=True,
        label_visibility="collapsed",
    )  # fmt: skip
    try:
        settings = load()
        _show(view or COMPARISON, settings)
    except UserError as error:
        tell(error)


def _show(view: str, settings: Settings) -> None:
    if view == CARDS:
        show_cards(settings)
        return
    if view == DRIFT:
        show_drift(settings)
        return
    found = evaluations(settings.dashboard.evaluations)
    kind, command = _STUDIES.get(view, (InjectedBars, "injected --bars"))
    studies = [study for _, study in found if isinstance(study, kind)]
    if not studies:
        st.info(
            f"No evaluation of this kind is named. `tapewatch evaluate {command} --json FILE` makes one, and "
            "`dashboard.evaluations` names it.",
            icon=":material/query_stats:",
        )
        return
    # Of several the last that is named.
    study = studies[-1]
    if isinstance(study, RealDays):
        _real(study)
        return
    if isinstance(study, Nab):
        show_nab(study)
        return
    _what(study)
    {COMPARISON: _comparison, CURVES: _curves, CONFUSION: _confusion}[view](study)


def _what(study: InjectedBars) -> None:
    events, seen = sum(study.events.values()), sum(study.visible.values())
    seeds = f"{len(study.seeds)} seed{'s' if len(study.seeds) > 1 else ''}"
    st.caption(
        f"{events:,} events put into the minute bars of {len(study.instruments)} instruments ({seeds}); "
        f"{seen:,} of them move some feature beyond what it does once a day anyway."
    )


@st.fragment
def _comparison(study: InjectedBars) -> None:
    st.markdown("**Who finds how much** at one false episode per instrument and day · grey are baselines")
    st.vega_lite_chart(
        charts.recalls(study, colours()), width="stretch", key="recalls",
        alt="Event recall of detectors and baselines at one false episode a day",
    )  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="bottom"):
        names = _chosen(study, "scorers")
        kind = st.selectbox("Events", list(study.events), key="kind", bind="query-params", width=150)
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown("**What more false alarms would buy**")
        if names:
            st.vega_lite_chart(
                charts.operating(study, names), width="stretch", key="operating",
                alt="Event recall over false episodes a day",
            )  # fmt: skip
    with right:
        st.markdown(f"**By its own alarms** · {plain(kind)} events")
        rows = [
            {
                "": name,
                **{title: scorer.kinds[kind].own_threshold.get(field) for field, title in _MEASURES.items()},
                "ROC AUC": scorer.kinds[kind].roc_auc,
                "average precision": scorer.kinds[kind].average_precision,
            }
            for name, scorer in study.scorers.items()
            if kind in scorer.kinds
        ]
        st.dataframe(
            pd.DataFrame(rows), hide_index=True, key="own", height=min(38 + 35 * len(rows), 460),
            column_config={
                "": st.column_config.TextColumn(width=190, pinned=True),
                **{
                    title: st.column_config.NumberColumn(format="%.2f", width=72)
                    for title in (*_MEASURES.values(), "ROC AUC", "average precision")
                },
            },
        )  # fmt: skip
        st.caption(
            "Precision is that of one kind of event at less than one a day: it cannot be high. Detectors "
            "raise the alarms of their budget, baselines those above the threshold that Youden's J picks."
        )


@st.fragment
def _curves(study: InjectedBars) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        names = _chosen(study, "scorers")
        kinds = [ANY, *study.events]
        kind = st.selectbox("Events", kinds, key="curve", bind="query-params", width=150)
    if not names:
        return
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown("**Precision and recall**")
        st.vega_lite_chart(
            charts.precision_recall(study, names, kind), width="stretch", key="precision-recall",
            alt="Precision of bars over recall",
        )  # fmt: skip
    with right:
        st.markdown("**Receiver operating characteristic**")
        st.vega_lite_chart(
            charts.receiver_operating(study, names, kind), width="stretch", key="receiver-operating",
            alt="True positive rate of bars over false positive rate",
        )  # fmt: skip
    st.caption(
        "Of single bars, those of events against untouched ones, the mean over the seeds; dashed are "
        "baselines. A false positive rate of 0.1 % is a bar in 1,000, or in some two and a half sessions."
    )


@st.fragment
def _confusion(study: InjectedBars) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        names = list(study.scorers)
        first = names.index("ensemble") if "ensemble" in names else 0
        one = st.selectbox("Of", names, first, key="of", bind="query-params", width=260)
        other = st.selectbox(
            "Beside", names, _best_baseline(study, names), key="beside", bind="query-params", width=260
        )
        at = st.selectbox("Alarms at", list(_ALARMS), key="at", bind="query-params", width=220)
    for name, column, place in zip((one, other), st.columns(2, gap="medium"), ("of", "beside"), strict=True):
        with column:
            st.markdown(f"**{plain(name)}**")
            matrix = study.scorers[name].confusion.get(_ALARMS[at])
            if matrix is None:
                st.caption("Not in this evaluation.")
                continue
            st.vega_lite_chart(
                charts.confusion(matrix, colours()), width="stretch", key=f"matrix-{place}",
                alt=f"Confusion matrix of {name}",
            )  # fmt: skip
    st.caption(
        "Of events how many an alarm meets; of bars that nothing was done to, cut into stretches of 30, how "
        "many have one. Shares are of the row."
    )


def _best_baseline(study: InjectedBars, names: list[str]) -> int:
    baselines = [name for name in names if study.scorers[name].baseline]
    return names.index(max(baselines, key=lambda name: study.scorers[name].mean or 0)) if baselines else 0


def _chosen(study: InjectedBars, key: str) -> list[str]:
    names = list(study.scorers)
    first = [name for name in _FIRST if name in names]
    first += [names[_best_baseline(study, names)]]
    # An address may name what another evaluation had.
    if key in st.session_state:
        st.session_state[key] = [name for name in st.session_state[key] if name in names]
    chosen = st.multiselect(
        "Detectors and baselines", names, list(dict.fromkeys(first)), key=key, bind="query-params",
        max_selections=_MOST_LINES,
    )  # fmt: skip
    if not chosen:
        st.info("Choose what to look at.", icon=":material/checklist:")
    return chosen


def _real(study: RealDays) -> None:
    st.caption(
        f"The market flow over {study.instrument_days} days of one instrument each, with nothing put into "
        "them: all that is told counts as false here, though some of it is worth a look."
    )
    left, right = st.columns([2, 3], gap="medium")
    with left:
        st.markdown("**Alarms per instrument and day**")
        rows = [
            {"detector": name, **{title: rate.get(field) for field, title in _RATES.items()}}
            for name, rate in study.alarms_per_instrument_day.items()
        ]
        st.dataframe(
            pd.DataFrame(rows), hide_index=True, key="rates", height=38 + 35 * len(rows),
            column_config={
                title: st.column_config.NumberColumn(format="%.2f", width=85) for title in _RATES.values()
            },
        )  # fmt: skip
    with right:
        st.markdown("**The worst incidents**, with what the tape says")
        for found in study.worst:
            by = ", ".join((found.detector, *found.others))
            with st.container(border=True, gap="small"):
                st.markdown(
                    f"{badge(found.severity)} **{plain(found.key)}** "
                    f"{plain(found.ts_start[:19].replace('T', ' '))} {plain(found.reason)}"
                )
                st.caption(plain(f"{by} · on the tape: {found.remark}" if found.remark else by))
