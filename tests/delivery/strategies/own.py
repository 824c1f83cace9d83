"""Strategies that packages offer, and what they may get wrong."""

from stormsail.delivery.strategies.none import KeepAll

MINE = KeepAll()
A_CLASS = KeepAll


class Half:
    """Says too little of itself."""

    replaces_source = True
    starts_empty = "no"


HALF = Half()
