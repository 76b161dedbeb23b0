"""Where places are: how far two of them are apart, as far as their names tell."""

from __future__ import annotations

import math
from functools import lru_cache

_EARTH_KM = 6371.0
#: Latitude and longitude of countries (ISO 3166) near where most of their people live, and of large cities.
_KNOWN = {
    "AE": (24.5, 54.4), "AR": (-34.6, -58.4), "AT": (48.2, 16.4), "AU": (-33.9, 151.2), "BE": (50.8, 4.4),
    "BG": (42.7, 23.3), "BR": (-23.5, -46.6), "CA": (43.7, -79.4), "CH": (47.4, 8.5), "CL": (-33.4, -70.7),
    "CN": (31.2, 121.5), "CO": (4.7, -74.1), "CZ": (50.1, 14.4), "DE": (50.1, 8.7), "DK": (55.7, 12.6),
    "EG": (30.0, 31.2), "ES": (40.4, -3.7), "FI": (60.2, 24.9), "FR": (48.9, 2.4), "GB": (51.5, -0.1),
    "GR": (38.0, 23.7), "HK": (22.3, 114.2), "HU": (47.5, 19.0), "ID": (-6.2, 106.8), "IE": (53.3, -6.3),
    "IL": (32.1, 34.8), "IN": (19.1, 72.9), "IT": (41.9, 12.5), "JP": (35.7, 139.7), "KE": (-1.3, 36.8),
    "KR": (37.6, 127.0), "MA": (33.6, -7.6), "MX": (19.4, -99.1), "MY": (3.1, 101.7), "NG": (6.5, 3.4),
    "NL": (52.4, 4.9), "NO": (59.9, 10.8), "NZ": (-36.8, 174.8), "PE": (-12.0, -77.0), "PH": (14.6, 121.0),
    "PL": (52.2, 21.0), "PT": (38.7, -9.1), "RO": (44.4, 26.1), "RU": (55.8, 37.6), "SA": (24.7, 46.7),
    "SE": (59.3, 18.1), "SG": (1.4, 103.8), "TH": (13.8, 100.5), "TR": (41.0, 29.0), "TW": (25.0, 121.5),
    "UA": (50.5, 30.5), "US": (40.7, -74.0), "VN": (10.8, 106.7), "ZA": (-26.2, 28.0),
    "AMSTERDAM": (52.4, 4.9), "BANGKOK": (13.8, 100.5), "BEIJING": (39.9, 116.4), "BERLIN": (52.5, 13.4),
    "CHICAGO": (41.9, -87.6), "DUBAI": (25.2, 55.3), "FRANKFURT": (50.1, 8.7), "LONDON": (51.5, -0.1),
    "LOS ANGELES": (34.1, -118.2), "MADRID": (40.4, -3.7), "MOSCOW": (55.8, 37.6), "MUMBAI": (19.1, 72.9),
    "NEW YORK": (40.7, -74.0), "PARIS": (48.9, 2.4), "ROME": (41.9, 12.5), "SAN FRANCISCO": (37.8, -122.4),
    "SEOUL": (37.6, 127.0), "SHANGHAI": (31.2, 121.5), "SINGAPORE": (1.4, 103.8), "SYDNEY": (-33.9, 151.2),
    "TOKYO": (35.7, 139.7), "TORONTO": (43.7, -79.4), "VIENNA": (48.2, 16.4), "ZURICH": (47.4, 8.5),
}  # fmt: skip


@lru_cache(maxsize=65_536)
def distance_km(one: str, other: str) -> float:
    """Return the great-circle distance of two places, NaN if one of them is not known.

    A place is a country's two letters, a large city, or a latitude and longitude in degrees, ``"48.9,2.4"``;
    what follows a comma after a name, as in ``"Paris, FR"``, is not looked at.

    >>> round(distance_km("Paris, FR", "London")), distance_km("here", "there")
    (339, nan)
    """
    here, there = _coordinates(one), _coordinates(other)
    if here is None or there is None:
        return 0.0 if one == other else math.nan
    (a, b), (c, d) = ((math.radians(x) for x in place) for place in (here, there))
    chord = math.sin((c - a) / 2) ** 2 + math.cos(a) * math.cos(c) * math.sin((d - b) / 2) ** 2
    return 2 * _EARTH_KM * math.asin(math.sqrt(min(chord, 1.0)))


def _coordinates(place: str) -> tuple[float, float] | None:
    words = place.strip().upper().split(",")
    found = _KNOWN.get(words[0].strip())
    if found is not None:
        return found
    try:
        latitude, longitude = (float(word) for word in words)
    except ValueError:
        return None
    return (latitude, longitude) if abs(latitude) <= 90 and abs(longitude) <= 180 else None
