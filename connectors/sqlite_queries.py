"""What the embedded store is asked, in SQL."""

from __future__ import annotations

import orjson

from connectors.store_questions import TERMS, TIME_OF, Place, SeverityOf, Wanted
from tapewatch.documents import ANOMALY_FIELDS, BAR_FIELDS, PAYMENT_FIELDS, SCORE_FIELDS

ANOMALY = ", ".join((*ANOMALY_FIELDS, *PAYMENT_FIELDS))
BAR = ", ".join(BAR_FIELDS)
SCORE = ", ".join(SCORE_FIELDS)
ORDER_BY = {
    "newest": "ts_event DESC, id",
    "oldest": "ts_event, id",
    "worst": "severity DESC, ts_event, id",
}
# Steps from one key to the next, from one width of it to the next, and so on, each time by the primary key,
# so that no bar is read that is not asked for. (A comparison of rows would use its first column only.)
SERIES = """
WITH RECURSIVE
keys (key) AS (
  SELECT min(key) FROM bars
  UNION ALL
  SELECT (SELECT min(key) FROM bars b WHERE b.key > k.key) FROM keys k WHERE k.key IS NOT NULL
), widths (key, width) AS (
  SELECT key, (SELECT min(width) FROM bars b WHERE b.key = k.key) FROM keys k WHERE k.key IS NOT NULL
  UNION ALL
  SELECT key, (SELECT min(width) FROM bars b WHERE b.key = w.key AND b.width > w.width)
  FROM widths w WHERE w.width IS NOT NULL
), datasets (key, width, dataset) AS (
  SELECT key, width, (SELECT min(dataset) FROM bars b WHERE b.key = w.key AND b.width = w.width)
  FROM widths w WHERE w.width IS NOT NULL
  UNION ALL
  SELECT key, width, (SELECT min(dataset) FROM bars b WHERE b.key = d.key AND b.width = d.width
    AND b.dataset > d.dataset)
  FROM datasets d WHERE d.dataset IS NOT NULL
), series (key, width, dataset, instrument_id) AS (
  SELECT key, width, dataset, (SELECT min(instrument_id) FROM bars b WHERE b.key = d.key
    AND b.width = d.width AND b.dataset = d.dataset)
  FROM datasets d WHERE d.dataset IS NOT NULL
  UNION ALL
  SELECT key, width, dataset, (SELECT min(instrument_id) FROM bars b WHERE b.key = s.key
    AND b.width = s.width AND b.dataset = s.dataset AND b.instrument_id > s.instrument_id)
  FROM series s WHERE s.instrument_id IS NOT NULL
)
SELECT s.key, s.width, s.dataset, s.instrument_id,
  (SELECT ts_start FROM bars b WHERE b.key = s.key AND b.width = s.width AND b.dataset = s.dataset
     AND b.instrument_id = s.instrument_id ORDER BY ts_start LIMIT 1) AS ts_first,
  (SELECT ts_end FROM bars b WHERE b.key = s.key AND b.width = s.width AND b.dataset = s.dataset
     AND b.instrument_id = s.instrument_id ORDER BY ts_start DESC LIMIT 1) AS ts_last
FROM series s WHERE s.instrument_id IS NOT NULL ORDER BY 1, 2, 3, 4
"""
# Each step of each series by what can be added up in any order, then its first and last bar by the primary
# key; at last the series of a dataset together. Integers are summed as such.
COARSER = """
WITH parts AS MATERIALIZED (
  SELECT dataset, instrument_id, ts_start / :step * :step AS step, min(ts_start) AS first,
    max(ts_start) AS last, max(high) AS high, min(low) AS low, sum(volume) AS volume, sum(trades) AS trades,
    sum(vwap * volume) AS paid, sum(CASE WHEN vwap IS NOT NULL THEN volume END) AS paid_volume,
    sum(buy_volume) AS buy_volume, sum(sell_volume) AS sell_volume, max(max_size) AS max_size,
    min(final) AS final
  FROM bars WHERE key = :key AND width = :width AND ts_start >= :start AND ts_start < :end
  GROUP BY dataset, instrument_id, step
), edges AS (
  SELECT *, row_number() OVER (PARTITION BY step, dataset ORDER BY first, instrument_id) AS from_first,
    row_number() OVER (PARTITION BY step, dataset ORDER BY last DESC, instrument_id DESC) AS from_last
  FROM parts
)
SELECT :key AS key, max(CASE from_last WHEN 1 THEN e.instrument_id END) AS instrument_id, e.dataset,
  :name AS width, step AS ts_start, step + :step AS ts_end,
  max(CASE from_first WHEN 1 THEN f.open END) AS open, max(e.high) AS high, min(e.low) AS low,
  max(CASE from_last WHEN 1 THEN l.close END) AS close,
  sum(e.volume) AS volume, sum(e.trades) AS trades, sum(paid) / sum(paid_volume) AS vwap,
  sum(e.buy_volume) AS buy_volume, sum(e.sell_volume) AS sell_volume, max(e.max_size) AS max_size,
  min(e.final) AS final
FROM edges e
JOIN bars f ON (f.key, f.width, f.dataset, f.instrument_id, f.ts_start)
  = (:key, :width, e.dataset, e.instrument_id, e.first)
JOIN bars l ON (l.key, l.width, l.dataset, l.instrument_id, l.ts_start)
  = (:key, :width, e.dataset, e.instrument_id, e.last)
GROUP BY step, e.dataset ORDER BY step, e.dataset LIMIT :limit
"""
# What an index holds says which cells there are; only the worst row of each cell shown is looked up.
LANES = """
WITH cells AS MATERIALIZED (
  SELECT key, ts_event / :step * :step AS step, max(severity) AS severity, count(*) AS anomalies
  FROM anomalies WHERE ts_event >= :start AND ts_event < :end AND severity >= :least GROUP BY 1, 2
), lanes AS (
  SELECT key, max(severity) AS worst FROM cells GROUP BY key ORDER BY worst DESC, key LIMIT :limit
)
SELECT c.key, c.step AS ts_start, c.severity, a.detector, a.reason, c.anomalies
FROM lanes w CROSS JOIN cells c ON c.key = w.key CROSS JOIN anomalies a ON a.rowid = (
  SELECT rowid FROM anomalies x WHERE x.key = c.key AND x.severity = c.severity
  AND x.ts_event >= max(c.step, :start) AND x.ts_event < min(c.step + :step, :end)
  ORDER BY x.ts_event, x.id LIMIT 1)
ORDER BY worst DESC, c.key, step
"""

REVIEWS = """
SELECT anomaly_id, transaction_id, label, reviewer, notes, reviewed_at FROM reviews
WHERE (:anomaly IS NULL OR anomaly_id = :anomaly) AND (:reviewer IS NULL OR reviewer = :reviewer)
  AND (:transaction IS NULL OR transaction_id = :transaction)
  AND (:start IS NULL OR reviewed_at >= :start) AND (:end IS NULL OR reviewed_at < :end)
  AND (:label IS NULL OR label = :label) AND (NOT :of_anomalies OR anomaly_id NOT NULL) AND {further}
ORDER BY reviewed_at DESC, anomaly_id, transaction_id, reviewer LIMIT :limit
"""
# What is null comes before any text, also the empty one.
_NAMED = "{0} NOT NULL, ifnull({0}, '')"
_NAMES = ("anomaly_id", "transaction_id", "reviewer")
REVIEWS_BEHIND = (
    "reviewed_at <= :after_reviewed_at AND (reviewed_at < :after_reviewed_at OR "
    f"({', '.join(_NAMED.format(name) for name in _NAMES)}) > "
    f"({', '.join(_NAMED.format(f':after_{name}') for name in _NAMES)}))"
)


def where_of(wanted: Wanted) -> tuple[str, list[object]]:
    """Return the condition for anomalies that are wanted, and its values."""
    conditions = {
        **{f"{name} = ?": wanted.get(name) for name in TERMS},
        "severity >= ?": wanted.get("min_severity"),
        "ts_event >= ?": wanted.get("start"),
        "ts_event < ?": wanted.get("end"),
    }
    given = {text: value for text, value in conditions.items() if value is not None}
    parts: list[str] = list(given)
    values: list[object] = list(given.values())
    for word in (wanted.get("text") or "").split():
        escaped = word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        parts.append("(reason LIKE ? ESCAPE '\\' OR key LIKE ? ESCAPE '\\')")
        values += [f"%{escaped}%"] * 2
    if (feature := wanted.get("feature")) is not None:
        parts.append("EXISTS (SELECT 1 FROM json_each(contributions) f WHERE f.key = ? AND f.value NOT NULL)")
        values.append(feature)
    if (reviewed := wanted.get("reviewed")) is not None:
        # Of few reviews to their anomalies, of many anomalies to their reviews.
        parts.append(
            "anomalies.id IN (SELECT anomaly_id FROM reviews)"
            if reviewed
            else "NOT EXISTS (SELECT 1 FROM reviews r WHERE r.anomaly_id = anomalies.id)"
        )
    for name, asked in (
        ("id", wanted.get("ids")),
        ("incident", wanted.get("incidents")),
        ("transaction_id", wanted.get("transactions")),
    ):
        if asked is not None:
            parts.append(f"{name} IN (SELECT value FROM json_each(?))")  # noqa: S608 - names of ours
            values.append(orjson.dumps(list(asked)).decode())
    return " AND ".join(parts) or "true", values


def behind(place: Place, order: str) -> tuple[str, list[object]]:
    """Return the condition for what comes behind a place in an order; those without a severity are apart.

    The first term lets an index lead to the place, the second leaves out what was shown before it.
    """
    if order == "worst" and place.severity is not None:
        return (
            "severity <= ? AND (severity < ? OR (ts_event, id) > (?, ?))",
            [place.severity, place.severity, place.ts_event, place.id],
        )
    later = "ts_event <= ? AND (ts_event < ?" if order == "newest" else "ts_event >= ? AND (ts_event > ?"
    return f"{later} OR id > ?)", [place.ts_event, place.ts_event, place.id]


# The first of each incident in an order, of those that are wanted, and what else there is of it.
HEADS = """
WITH seen AS (SELECT id, incident, detector, severity, ts_event FROM anomalies WHERE {where}),
places AS (SELECT *, row_number() OVER (PARTITION BY incident ORDER BY {order}) AS place,
           count(*) OVER (PARTITION BY incident) AS anomalies FROM seen)
SELECT incident, id, anomalies, (SELECT json_group_array(detector) FROM
  (SELECT DISTINCT detector FROM seen s WHERE s.incident = p.incident ORDER BY 1)) AS detectors
FROM places p WHERE place = 1 ORDER BY incident
"""

_SPREAD = (
    "SELECT {time} / :step * :step AS ts_start, detector, "
    "min(CAST(severity * :bins / 100 AS INTEGER), :bins - 1) AS bin, count(*) AS count "
    "FROM {rows} WHERE {time} >= :start AND {time} < :end AND severity NOT NULL "
    "GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
)
# From one series of scores to the next as above, so that of each only what is asked for is read.
SERIES_OF_SCORES = """
WITH RECURSIVE
keys (key) AS (
  SELECT min(key) FROM scores
  UNION ALL
  SELECT (SELECT min(key) FROM scores s WHERE s.key > k.key) FROM keys k WHERE k.key IS NOT NULL
), named (key, name) AS (
  SELECT key, (SELECT min(detector) FROM scores s WHERE s.key = k.key) FROM keys k WHERE k.key IS NOT NULL
  UNION ALL
  SELECT key, (SELECT min(detector) FROM scores s WHERE s.key = n.key AND s.detector > n.name)
  FROM named n WHERE n.name IS NOT NULL
), flows (key, name, flow) AS (
  SELECT key, name, (SELECT min(flow) FROM scores s WHERE s.key = n.key AND s.detector = n.name)
  FROM named n WHERE n.name IS NOT NULL
  UNION ALL
  SELECT key, name,
    (SELECT min(flow) FROM scores s WHERE s.key = f.key AND s.detector = f.name AND s.flow > f.flow)
  FROM flows f WHERE f.flow IS NOT NULL
), series (key, name, flow, number) AS (
  SELECT key, name, flow, (SELECT min(instrument_id) FROM scores s
    WHERE s.key = f.key AND s.detector = f.name AND s.flow = f.flow)
  FROM flows f WHERE f.flow IS NOT NULL
  UNION ALL
  SELECT key, name, flow, (SELECT min(instrument_id) FROM scores s
    WHERE s.key = e.key AND s.detector = e.name AND s.flow = e.flow AND s.instrument_id > e.number)
  FROM series e WHERE e.number IS NOT NULL
)
"""
_OF_SERIES = (
    "series e CROSS JOIN scores s ON s.key = e.key AND s.detector = e.name AND s.flow = e.flow "
    "AND s.instrument_id = e.number"
)
#: How severities are spread over steps and bins, of anomalies or of scores.
SEVERITIES: dict[SeverityOf, str] = {
    "anomalies": _SPREAD.format(time=TIME_OF["anomalies"], rows="anomalies"),
    "scores": SERIES_OF_SCORES + _SPREAD.format(time=TIME_OF["scores"], rows=_OF_SERIES),
}
