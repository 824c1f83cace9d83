"""The order of redblack's phases."""

import pytest

from stormsail.delivery.model.server_group import Capacity, LaunchSpec, ServerGroup
from stormsail.delivery.strategies.redblack import Phase, phases
from stormsail.delivery.strategies.strategy import Rollout

SOURCE = ServerGroup(
    name="web-v000",
    account="a",
    location="here",
    capacity=Capacity.fixed(1),
    enabled=True,
    launch=LaunchSpec(),
    created_at_ms=0,
)


def rollout(source: ServerGroup | None = SOURCE, **more: float) -> Rollout:
    return Rollout(
        cluster="web", server_group="web-v001", up_at_least=1, source=source, capacity=Capacity.fixed(1), **more
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "order"),
    [
        (rollout(None, max_remaining=1, scale_down=True), ()),
        (rollout(), (Phase.DISABLE,)),
        (rollout(max_remaining=2), (Phase.SHRINK, Phase.DISABLE)),
        (rollout(delay_before_cleanup_s=5), (Phase.WAIT_BEFORE_CLEANUP, Phase.DISABLE)),
        (rollout(delay_before_scale_down_s=5), (Phase.DISABLE,)),
        (
            rollout(max_remaining=2, delay_before_cleanup_s=1, delay_before_scale_down_s=5, scale_down=True),
            (
                Phase.SHRINK,
                Phase.WAIT_BEFORE_CLEANUP,
                Phase.DISABLE,
                Phase.WAIT_BEFORE_SCALE_DOWN,
                Phase.SCALE_DOWN,
            ),
        ),
    ],
)
def test_shrinking_comes_before_disabling_and_scaling_down_comes_last(given: Rollout, order: tuple[Phase, ...]) -> None:
    assert phases(given) == order
