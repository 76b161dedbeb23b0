"""The pictures of payments in Vega-Lite: what is usual for a user beside one payment, amounts by group."""

from __future__ import annotations

import pandas as pd

from dashboard.charts import Document, Spec, number, severity, told, utc
from dashboard.colours import Colours
from dashboard.payments import UNKNOWN, Habit, Payment

#: The name of what a click on a payment chooses.
CHOSEN = "payment"
_NAMES = {"field": "word", "type": "nominal", "title": None, "sort": None}
_AXIS = {"labelLimit": 120, "ticks": False, "domain": False, "labelOverlap": False}
_SMALLEST = 0.01


def habits(rows: list[Habit], worst: float | None, colours: Colours) -> Spec:
    """Return how often a user does what; what the payment at hand does is coloured by its severity."""
    table = pd.DataFrame([row.__dict__ | {"severity": worst, "text": row.told} for row in rows])
    this = {"test": "datum.this", **severity(colours)}
    return {
        "datasets": {"habits": table},
        "data": {"name": "habits"},
        "height": {"step": 22},
        "encoding": {
            "x": number("share", axis=None, scale={"domain": [0, 1.18]}),
            "y": {**_NAMES, "axis": _AXIS},
            "tooltip": [*told("word"), *told("share:.1%")],
        },
        "layer": [
            {
                "mark": {"type": "bar", "cornerRadius": 2},
                "encoding": {"color": {"condition": this, "value": colours.volume}},
            },
            {
                "mark": {"type": "text", "align": "left", "dx": 5},
                "encoding": {
                    "text": {"field": "text"},
                    "color": {
                        # Its bar is too short to be seen.
                        "condition": {
                            "test": "datum.this && datum.share < 0.01",
                            "value": colours.threshold,
                        },
                        "value": colours.text,
                    },
                },
            },
        ],
    }


def hours(shares: list[float], hour: int, worst: float | None, colours: Colours) -> Spec:
    """Return a user's day: the share of each hour (UTC), the payment's hour coloured by its severity."""
    table = pd.DataFrame({"hour": range(24), "share": shares, "severity": worst})
    table["this"] = table["hour"] == hour
    of_hours = {
        "field": "hour", "type": "ordinal", "title": None,
        "axis": {"labelAngle": 0, "values": [0, 3, 6, 9, 12, 15, 18, 21], "ticks": False},
    }  # fmt: skip
    # By its share an hour without payments would not be seen.
    whole = {"type": "rect", "opacity": 0.25}
    return {
        "datasets": {"hours": table},
        "data": {"name": "hours"},
        "height": 110,
        "encoding": {"x": of_hours, "tooltip": [*told("hour"), *told("share:.1%")]},
        "layer": [
            {
                "transform": [{"filter": "datum.this"}],
                "mark": whole,
                "encoding": {"y": {"value": 0}, "y2": {"value": "height"}, "color": severity(colours)},
            },
            {
                "mark": {"type": "bar", "cornerRadius": 2},
                "encoding": {
                    "y": number("share", axis={"format": ".0%", "tickCount": 3}),
                    "color": {
                        "condition": {"test": "datum.this", **severity(colours)},
                        "value": colours.volume,
                    },
                },
            },
        ],
    }


def amount_range(payment: Payment, profile: Document, colours: Colours) -> Spec:
    """Return a user's last amounts, from the least to the largest, and the payment's as a diamond."""
    least, mean, most = (max(profile[f"amount_{name}"], _SMALLEST) for name in ("min", "mean", "max"))
    usual = pd.DataFrame([{"least": least, "mean": mean, "largest": most}])
    this = pd.DataFrame([{"amount": max(payment.amount, _SMALLEST), "severity": payment.severity}])
    scale = {"type": "log", "nice": False, "padding": 14}
    axis = {"format": ",.6~g", "tickCount": 5, "grid": False}
    tooltip = told("least:,.2f", "mean:,.2f", "largest:,.2f")
    return {
        "height": 54,
        "datasets": {"usual": usual, "this": this},
        "layer": [
            {
                "data": {"name": "usual"},
                "mark": {"type": "bar", "size": 18, "cornerRadius": 4, "color": colours.volume},
                "encoding": {
                    "x": number("least", scale=scale, axis=axis),
                    "x2": {"field": "largest"},
                    "tooltip": tooltip,
                },
            },
            {
                "data": {"name": "usual"},
                "mark": {"type": "tick", "size": 28, "thickness": 2, "color": colours.line},
                "encoding": {"x": number("mean"), "tooltip": tooltip},
            },
            {
                "data": {"name": "this"},
                "mark": {
                    "type": "point", "shape": "diamond", "filled": True, "size": 190, "opacity": 1,
                    "stroke": colours.outline,
                },
                "encoding": {
                    "x": number("amount"),
                    "color": severity(colours),
                    "tooltip": told("amount:,.2f", "severity:.0f"),
                },
            },
        ],
    }  # fmt: skip


def sums(rows: list[Document], colours: Colours) -> Spec:
    """Return what the payments with anomalies come to, by group."""
    table = pd.DataFrame(rows).rename(columns={"group": "word"})
    table["word"] = table["word"].fillna(UNKNOWN)
    largest = float(table["amount"].max()) or 1.0
    many = ["s" if count != 1 else "" for count in table["transactions"]]
    table["text"] = [f"{n:,} payment{s}" for n, s in zip(table["transactions"], many, strict=True)]
    return {
        "datasets": {"sums": table},
        "data": {"name": "sums"},
        "height": {"step": 24},
        "encoding": {
            "x": number(
                "amount", axis={"format": ",.6~g", "tickCount": 4}, scale={"domain": [0, 1.35 * largest]}
            ),
            "y": {**_NAMES, "axis": _AXIS},
            "tooltip": [
                *told("word", "transactions:,", "amount:,.2f", "amount_mean:,.2f", "amount_max:,.2f")
            ],
        },
        "layer": [
            {"mark": {"type": "bar", "cornerRadius": 2, "color": colours.line, "opacity": 0.75}},
            {
                "mark": {"type": "text", "align": "left", "dx": 5, "color": colours.text, "fontSize": 11},
                "encoding": {"text": {"field": "text"}},
            },
        ],
    }


def amounts(rows: list[Document], group: str, words: list[str], colours: Colours) -> Spec:
    """Return each payment by its group and amount; a click chooses `CHOSEN`: its ``id``."""
    shown = ["id", "user_id", "amount", "severity", "reason", "ts_event", group]
    table = utc(rows, "ts_event")[shown].rename(columns={group: "word", "user_id": "user"})
    table["word"] = table["word"].fillna(UNKNOWN)
    table["amount"] = table["amount"].clip(lower=_SMALLEST)
    click = {"type": "point", "fields": ["id"], "on": "click", "clear": "dblclick"}
    return {
        "datasets": {"payments": table},
        "data": {"name": "payments"},
        "params": [{"name": CHOSEN, "select": click}],
        "height": {"step": 24},
        "mark": {"type": "circle", "size": 75, "cursor": "pointer", "stroke": colours.outline},
        "encoding": {
            "x": number("amount", scale={"type": "log", "nice": False, "padding": 12},
                        axis={"format": ",.6~g", "tickCount": 5, "grid": False}),
            "y": {**_NAMES, "sort": words, "axis": {**_AXIS, "grid": True}},
            "color": severity(colours),
            "order": {"field": "severity"},
            "opacity": {"condition": {"param": CHOSEN, "value": 0.95}, "value": 0.25},
            "tooltip": told("word", "user", "amount:,.2f", "severity:.0f", "ts_event:time", "reason"),
        },
    }  # fmt: skip
