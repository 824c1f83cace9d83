"""The strategies by name."""

from collections.abc import Mapping
from typing import Final

from stormsail.delivery.strategies.canary import Canary
from stormsail.delivery.strategies.highlander import Highlander
from stormsail.delivery.strategies.none import KeepAll
from stormsail.delivery.strategies.redblack import RedBlack
from stormsail.delivery.strategies.rolling_redblack import RollingRedBlack
from stormsail.delivery.strategies.strategy import Strategy

STRATEGIES: Final[Mapping[str, Strategy]] = {
    "none": KeepAll(),
    "redblack": RedBlack(),
    "rollingredblack": RollingRedBlack(),
    "highlander": Highlander(),
    "canary": Canary(),
}
