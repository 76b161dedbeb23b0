"""The view of the Numenta benchmark on the page of models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from dashboard.evaluation import Benchmarked, Nab


def show_nab(study: Nab) -> None:
    """Draw what detectors score by each profile, and what other parameters would score."""
    st.caption(
        f"{study.series} series of the Numenta Anomaly Benchmark, each streamed once, scored by its "
        "published rules: 0 is a detector that says nothing, 100 one that finds everything at once and "
        "nothing else."
    )
    # The benchmark's profiles are keys of its own files.
    profiles = list(dict.fromkeys(name for scores in study.detectors.values() for name in scores))
    titles = {name: name.replace("reward_", "").replace("_", " ") for name in profiles}
    ranked = sorted(study.detectors.items(), key=lambda pair: -_score(pair[1], profiles[0]))
    if profiles:
        rows = [
            {"detector": name, **{titles[profile]: one.score for profile, one in scores.items()}}
            for name, scores in ranked
        ]
        _table(rows, list(titles.values()), "nab")
    else:
        st.info("The series of this evaluation had no labels: nothing was scored.", icon=":material/label:")
    if study.robustness:
        st.markdown("**With a parameter halved or doubled**, by the standard profile")
        _table(
            [{"value_novelty with": name, "score": score} for name, score in study.robustness.items()],
            ["score"],
            "robustness",
        )


def _score(scores: Mapping[str, Benchmarked], profile: str) -> float:
    return scores[profile].score if profile in scores else 0.0


def _table(rows: Sequence[Mapping[str, object]], numbers: list[str], key: str) -> None:
    st.dataframe(
        pd.DataFrame(rows), hide_index=True, key=key, width="content", height=38 + 35 * len(rows),
        column_config={
            name: st.column_config.NumberColumn(format="%.1f", width=110) for name in numbers
        },
    )  # fmt: skip
