"""The tables and the picture of a quality study."""

from __future__ import annotations

from pathlib import Path

from models.quality import KINDS, REQUIRED, Study
from tapewatch.errors import UserError

_UNITS = {"high_volume": "times the local median volume", "block_trade": "times the 99.99th percentile"}


def tables(study: Study) -> str:
    """Return the results as Markdown."""
    days = sorted({clean.day for clean in study.clean})
    cells = {(c.detector, c.day): c.alarms / max(c.instruments, 1) for c in study.clean}
    lines = [
        "| clean tape, alarms per instrument | " + " | ".join(f"day {day}" for day in days) + " |",
        "|---|" + "---|" * len(days),
    ]
    names = sorted({clean.detector for clean in study.clean}, key=lambda name: (name not in KINDS, name))
    lines += [
        f"| `{name}` | " + " | ".join(f"{cells[name, day]:.2f}" for day in days) + " |" for name in names
    ]
    for kind in dict.fromkeys(recall.kind for recall in study.recalls):
        lines += [
            "",
            f"| `{kind}`: {_UNITS[kind]} | day | events | found | recall | incidents per found event |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {r.size:g} | {r.day} | {r.events} | {r.found} | {r.found / r.events:.3f} | "
            f"{r.incidents / max(r.found, 1):.2f} |"
            for r in study.recalls
            if r.kind == kind
        ]
    return "\n".join(lines) + "\n"


def picture(study: Study, path: Path) -> None:
    """Draw recall against size.

    Raises
    ------
    UserError
        If there is nothing to draw with.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        raise UserError('drawing needs matplotlib: pip install "tapewatch[train]"') from None
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(KINDS), figsize=(10, 3.6), sharey=True)
    for axis, kind in zip(axes, KINDS, strict=True):
        for day, style in ((1, "--"), (2, "-")):
            mine = [r for r in study.recalls if r.kind == kind and r.day == day]
            recall = [r.found / r.events for r in mine]
            axis.plot([r.size for r in mine], recall, style, marker="o", label=f"day {day}")
        axis.axvline(REQUIRED[kind], color="grey", linewidth=0.8)
        axis.axhline(0.95, color="grey", linewidth=0.8)
        axis.set(title=kind, xscale="log", ylim=(0, 1.03), xlabel=_UNITS[kind])
        axis.legend(loc="lower right")
    axes[0].set_ylabel("recall")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
