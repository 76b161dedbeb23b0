"""Names of the statistics of bars, in the words of a sentence."""

from __future__ import annotations

_SINGLE = {
    "wide_given_volume": "a range wider than its volume lets expect",
    "narrow_given_volume": "a range narrower than its volume lets expect",
    "reversal": "a move that reverts the one before",
    "zigzag": "moves that alternate",
    "return_on_volume": "a move on heavy volume",
    "thin_move": "a move on thin volume",
    "dip_and_back": "a dip that came back",
    "move_without_wick": "a move without a wick",
    "wick_before": "the wick of the bar before",
    "wide_before": "the range of the bar before, wider than its volume lets expect",
    "volume_given_range_before": "the volume of the bar before, more than its range lets expect",
    "return_given_volume_before": "the move of the bar before, larger than its volume lets expect",
    "move_two_before": "the move of two bars before",
    "range_before_alone": "the range of the bar before beside a quiet one",
}
#: Of statistics that end in the number of bars they are over.
_SEVERAL = {
    "wide_given_volume": "ranges wider than volume lets expect",
    "narrow_given_volume": "ranges narrower than volume lets expect",
    "volume_given_range": "more volume than ranges let expect",
    "drift": "the drift",
    "one_way": "moves one way",
    "moves": "the size of moves",
    "turns": "closes that turn back and forth",
    "volume": "the volume",
    "range": "the range",
    "wick": "the wicks",
}


def in_words(name: str) -> str:
    """Return what a statistic is, to be read in a sentence.

    >>> in_words("drift_10"), in_words("vwap_distance")
    ('the drift over 10 bars', 'its vwap distance')
    """
    base, _, bars = name.rpartition("_")
    if bars.isdigit():
        return f"{_SEVERAL[base]} over {bars} bars"
    return _SINGLE.get(name) or f"its {name.replace('_', ' ')}"
