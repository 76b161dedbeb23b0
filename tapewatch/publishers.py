"""Which dataset a record is of, by the number of its publisher: the part of Databento's list with prices.

Not every encoding names the dataset, but a record says who published it.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

_NUMBERS = {
    "ARCX.PILLAR": "43",
    "BATS.PITCH": "5",
    "BATY.PITCH": "6",
    "CCCY.CGIF": "140",
    "CGI.CGIF": "141",
    "DBEQ.BASIC": "39-42 59",
    "DBIX.CORE": "146-153",
    "EDGA.PITCH": "7",
    "EDGX.PITCH": "8",
    "EPRL.DOM": "16",
    "EQUS.ALL": "62-80 94",
    "EQUS.MINI": "95",
    "EQUS.PLUS": "48-56 60",
    "EQUS.SIP": "111-135",
    "EQUS.SUMMARY": "90",
    "FTSE.CGIF": "137",
    "GLBX.MDP3": "1",
    "IEXG.TOPS": "38",
    "IFEU.IMPACT": "57 84",
    "IFLL.IMPACT": "99-100",
    "IFUS.IMPACT": "97-98",
    "INAV.CGIF": "138",
    "MAIN.CGIF": "110 142",
    "MEMX.MEMOIR": "15",
    "MSCI.CGIF": "136",
    "MSTAR.CGIF": "139",
    "NDEX.IMPACT": "58 85",
    "OCEA.MEMOIR": "107",
    "OPRA.PILLAR": "20-37 61 108-109",
    "XASE.PILLAR": "11",
    "XBOS.ITCH": "3",
    "XCBF.PITCH": "105-106",
    "XCHI.PILLAR": "12",
    "XCIS.BBO": "13",
    "XCIS.PILLAR": "10",
    "XCIS.TRADES": "14",
    "XCIS.TRADESBBO": "91",
    "XEEE.EOBI": "102 104",
    "XEUR.EOBI": "101 103",
    "XNAS.BASIC": "81-83 88-89 93",
    "XNAS.ITCH": "2",
    "XNAS.NLS": "17-18 47 86-87",
    "XNAS.QBBO": "46",
    "XNYS.BBO": "44",
    "XNYS.PILLAR": "9",
    "XNYS.TRADES": "19 45 96",
    "XNYS.TRADESBBO": "92",
    "XOSE.ITCH": "145",
    "XPSX.ITCH": "4",
    "XTKS.FLEX": "143",
    "XTKT.ITCH": "144",
}


def datasets_by_publisher() -> dict[int, str]:
    """Return the code of each publisher's dataset.

    >>> datasets_by_publisher()[95]
    'EQUS.MINI'
    """
    found = {}
    for dataset, numbers in _NUMBERS.items():
        for part in numbers.split():
            first, _, last = part.partition("-")
            found.update(dict.fromkeys(range(int(first), int(last or first) + 1), dataset))
    return found


def publishers_of(patterns: tuple[str, ...]) -> frozenset[int]:
    """Return the publishers of the datasets that one of the patterns matches.

    >>> sorted(publishers_of(("XNAS.ITCH", "DBEQ.*")))
    [2, 39, 40, 41, 42, 59]
    """
    return frozenset(
        number
        for number, dataset in datasets_by_publisher().items()
        if any(fnmatchcase(dataset, pattern) for pattern in patterns)
    )
