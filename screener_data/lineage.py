"""Which names and ISINs were one security: worked out of dated lists and the exchange's symbol changes, and no more.

The answer depends on what is known, never on the order in which it became known. An ISIN is one security. Two ISINs are
one where a symbol, or a change of symbols, leads from one to the other, and the issuer or the listing date is the same
(a split of the face value gives a new ISIN); never where one list shows both.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

__all__ = ["BY_HAND", "Change", "Lineage", "Name", "Sighting", "lineages"]

#: The list of securities that no list has shown: they were written by hand, or before lists had days.
BY_HAND = "by hand"
_ISSUER = 7  # characters of an ISIN that tell the country, the kind of issuer, and the issuer
_WIDEST = 37  # with ~ and an ISIN, a symbol's 50
_CHANGES = "symbol changes"


@dataclass(frozen=True)
class Sighting:
    """A name and an ISIN on one list from `since` up to `until`, exclusive (None: still there), last seen on `last`."""

    symbol: str
    isin: str
    listing_date: dt.date | None
    list_name: str
    since: dt.date
    until: dt.date | None
    last: dt.date
    id: int = 0

    @property
    def order(self) -> tuple[dt.date, dt.date, int]:
        """By time; what another list of the same day took the place of comes before that one."""
        return self.since, self.until or dt.date.max, self.id

    def meets(self, other: Sighting) -> bool:
        """Whether one list showed both at once, so that they are two securities."""
        if self.list_name != other.list_name:
            return False
        if self.since == self.until == other.since == other.until:
            return self.symbol != other.symbol
        return self.since < (other.until or dt.date.max) and other.since < (self.until or dt.date.max)


@dataclass(frozen=True)
class Change:
    """A change of a symbol as the exchange tells it: `new` is the name from `day` on."""

    old: str
    new: str
    day: dt.date


@dataclass(frozen=True)
class Name:
    """One name of a security from `since` up to `until` (exclusive; None: not known, or not ended)."""

    symbol: str
    isin: str
    since: dt.date | None
    until: dt.date | None
    known_by: str
    #: What tells `until`: the exchange's change, or the first list that no longer shows the name (so by then at last).
    dated_by: str | None = None


@dataclass
class Lineage:
    """One security: its ISINs, its names in their order, and the symbol that is its alone.

    That is its last name; where another security bears it now, the name with ~ and the ISIN.
    """

    names: list[Name]
    listed: bool
    last: dt.date
    symbol: str = ""
    isins: set[str] = field(default_factory=set)

    @property
    def isin(self) -> str:
        """The last one."""
        return self.names[-1].isin

    def past(self) -> list[Name]:
        """The names that it gave up, each with the day of that; and its last one, where that is another's now."""
        given_up = [a for a, b in pairwise(self.names) if a.symbol != b.symbol and a.until is not None]
        return given_up if self.symbol == self.names[-1].symbol else [*given_up, self.names[-1]]


def lineages(sightings: Iterable[Sighting], changes: Iterable[Change]) -> list[Lineage]:
    """All securities, by their first ISIN."""
    known = _Known(sightings, changes)
    parts = _joined(known)
    found = [_lineage(known, sorted(part, key=lambda each: each.order)) for part in parts]
    _name_apart(found, known)
    return found


class _Known:
    """Sightings and changes, as they are looked for."""

    def __init__(self, sightings: Iterable[Sighting], changes: Iterable[Change]) -> None:
        self.by_isin: dict[str, list[Sighting]] = defaultdict(list)
        self.by_symbol: dict[str, list[Sighting]] = defaultdict(list)
        for each in sorted(sightings, key=lambda each: (*each.order, each.list_name, each.isin, each.symbol)):
            self.by_isin[each.isin].append(each)
            self.by_symbol[each.symbol].append(each)
        self.into: dict[str, list[Change]] = defaultdict(list)
        self.out_of: dict[str, list[Change]] = defaultdict(list)
        for change in sorted({c for c in changes if c.old != c.new}, key=lambda c: (c.day, c.old, c.new)):
            self.into[change.new].append(change)
            self.out_of[change.old].append(change)

    def back(self, symbol: str, day: dt.date, after: dt.date, stop: str | None = None) -> list[Change]:
        """The changes that led to `symbol` as of `day`, the last first, none up to `after`; as far as `stop`."""
        found: list[Change] = []
        while symbol != stop:
            into = [c for c in self.into[symbol] if after < c.day <= day and c not in found]
            # whoever took the name and gave it up again before that day was another
            if not into or any(into[-1].day < c.day <= day for c in self.out_of[symbol] if c not in found):
                break
            found.append(into[-1])
            symbol, day = into[-1].old, into[-1].day
        return found

    def onward(self, symbol: str, last: dt.date, own: set[str]) -> list[Change]:
        """The changes of a name after the last list that shows it, while it is nobody else's."""
        found: list[Change] = []
        while True:
            out = [c for c in self.out_of[symbol] if c.day > last and c not in found]
            if not out:
                return found
            change = out[0]
            taken = any(s.isin not in own and last < s.since <= change.day for s in self.by_symbol[symbol])
            taken |= any(last < c.day <= change.day for c in self.into[symbol] if c not in found)
            taken |= any(s.isin not in own and s.last >= change.day for s in self.by_symbol[change.new])
            if taken:
                return found
            found.append(change)
            symbol, last = change.new, change.day


# --- which ISINs are one security -----------------------------------------------------------------------------------


def _joined(known: _Known) -> list[list[Sighting]]:
    """The sightings of each security."""
    part_of = {isin: [isin] for isin in known.by_isin}
    for _, one, other in sorted(_leads(known)):
        mine, others = part_of[one], part_of[other]
        if mine is others or any(
            a.meets(b) for i in mine for j in others for a in known.by_isin[i] for b in known.by_isin[j]
        ):
            continue
        mine += others
        part_of |= dict.fromkeys(others, mine)
    parts = {id(part): part for part in part_of.values()}
    return [[each for isin in part for each in known.by_isin[isin]] for part in parts.values()]


def _leads(known: _Known) -> set[tuple[dt.date, str, str]]:
    """(day, ISIN, ISIN) where a name leads from one to the other."""
    found = set()
    for borne in known.by_symbol.values():
        for before, after in pairwise(borne):
            if before.isin != after.isin and _alike(before, after):
                found.add((after.since, before.isin, after.isin))
    for isin, sightings in known.by_isin.items():
        first = sightings[0]
        for change in known.back(first.symbol, _day_of_first(known, sightings), _listed_on(sightings)):
            bearers = [s for s in known.by_symbol[change.old] if s.isin != isin and s.last < change.day]
            if bearers and known.by_isin[bearers[-1].isin][-1].last < change.day:
                found.add((change.day, bearers[-1].isin, isin))
                break
    return found


def _day_of_first(known: _Known, sightings: Sequence[Sighting]) -> dt.date:
    """The day of the first list; of one whose place another took on the same day, one before the change between them.

    Such lists told no day, and may be old: what they show was true at some time before.
    """
    first = sightings[0]
    if first.since == first.until and len(sightings) > 1:
        path = known.back(sightings[1].symbol, sightings[1].since, _listed_on(sightings), stop=first.symbol)
        if path and path[-1].old == first.symbol:
            return path[-1].day - dt.timedelta(1)
    return first.since


def _alike(one: Sighting, other: Sighting) -> bool:
    """Of the same issuer, or listed on the same day: else a company has taken the name of one that is gone."""
    same_day = one.listing_date is not None and one.listing_date == other.listing_date
    return one.isin[:_ISSUER] == other.isin[:_ISSUER] or same_day


def _listed_on(sightings: Sequence[Sighting]) -> dt.date:
    """The first listing date: no change of a symbol up to then was this security's."""
    return min((s.listing_date for s in sightings if s.listing_date), default=dt.date.min)


# --- its names ------------------------------------------------------------------------------------------------------


def _lineage(known: _Known, sightings: list[Sighting]) -> Lineage:
    isins = {each.isin for each in sightings}
    listed_on = _listed_on(sightings)
    names = _before_all_lists(known, sightings[0], _day_of_first(known, sightings), listed_on)
    for before, each in pairwise(sightings):
        if before.symbol != each.symbol:
            names += _between(known, names.pop(), each)
        elif before.isin != each.isin:
            names[-1] = replace(names[-1], until=each.since, dated_by=_of(each))
            names.append(_seen(each))
    listed = any(each.until is None for each in sightings)
    last = max(each.last for each in sightings)
    for change in known.onward(names[-1].symbol, last, isins):
        names[-1] = replace(names[-1], until=change.day, dated_by=_CHANGES)
        names.append(Name(change.new, names[-1].isin, change.day, None, _CHANGES))
    if not listed and (gone := max((e.until for e in sightings if e.until), default=None)) and gone > dt.date.min:
        since = names[-1].since
        if since is None or since <= gone:
            names[-1] = replace(names[-1], until=gone, dated_by="the lists")
    if listed_on > dt.date.min and names[0].since is None:
        names[0] = replace(names[0], since=listed_on)
    return Lineage(names, listed, last, names[-1].symbol, isins)


def _before_all_lists(known: _Known, first: Sighting, day: dt.date, listed_on: dt.date) -> list[Name]:
    """The names up to that of the first list, which is of `day`."""
    names = [_seen(first, since=None)]
    for change in known.back(first.symbol, day, listed_on):
        names[0] = replace(names[0], since=change.day)
        names.insert(0, Name(change.old, first.isin, None, change.day, _CHANGES, _CHANGES))
    return names


def _between(known: _Known, before: Name, now: Sighting) -> list[Name]:
    """The name before, its end, and what came after: by the exchange's changes where they lead there, else by lists."""
    path = known.back(now.symbol, now.since, before.since or dt.date.min, stop=before.symbol)[::-1]
    if not path or path[0].old != before.symbol:
        return [replace(before, until=now.since, dated_by=_of(now)), _seen(now)]
    names = [replace(before, until=path[0].day, dated_by=_CHANGES)]
    names += [Name(a.new, before.isin, a.day, b.day, _CHANGES, _CHANGES) for a, b in pairwise(path)]
    return [*names, _seen(now, since=path[-1].day)]


def _seen(sighting: Sighting, since: dt.date | None = dt.date.max) -> Name:
    since = sighting.since if since == dt.date.max else since
    return Name(sighting.symbol, sighting.isin, since, None, _of(sighting))


def _of(sighting: Sighting) -> str:
    return BY_HAND if sighting.list_name == BY_HAND else f"{sighting.list_name} of {sighting.since}"


def _name_apart(found: list[Lineage], known: _Known) -> None:
    """Of several with one last name, leave it to the one that is listed, or bore it last."""
    claims: dict[str, list[Lineage]] = defaultdict(list)
    for lineage in found:
        claims[lineage.symbol].append(lineage)
    for symbol, several in claims.items():
        several.sort(key=lambda each: (each.listed, each.last, each.names[-1].since or dt.date.min, each.isin))
        for loser, successor in pairwise(several):
            day = _taken_on(loser, successor, known)
            loser.symbol = f"{symbol[:_WIDEST]}~{loser.isin}"
            loser.names[-1] = replace(loser.names[-1], until=day)


def _taken_on(loser: Lineage, successor: Lineage, known: _Known) -> dt.date:
    """The day from which a name means its next bearer."""
    name = successor.names[-1]
    if name.since is not None and name.since > loser.last:
        return name.since
    seen = [s.since for s in known.by_symbol[name.symbol] if s.isin in successor.isins]
    return min(seen, default=name.since or dt.date.max)
