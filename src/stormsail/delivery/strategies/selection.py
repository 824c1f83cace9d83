"""Which server groups of a cluster to drop, and which to go back to: pure rules over what was observed.

The count to keep among the candidates is always `keep - (total - candidates)`: those that may not be touched are kept
anyway and count first.
"""

from collections.abc import Collection, Sequence

from stormsail.delivery.model.server_group import ServerGroup


def to_shrink(
    groups: Sequence[ServerGroup],
    shrink_to_size: int,
    *,
    allow_delete_active: bool = False,
    retain_larger_over_newer: bool = False,
    keep: Collection[str] = (),
) -> tuple[ServerGroup, ...]:
    """Return the groups to destroy so that `shrink_to_size` remain; `groups` are the whole cluster, oldest first.

    Kept are those named in `keep`, then active ones (where active ones may be dropped at all), then larger ones if
    asked, then newer ones.
    """
    candidates = [group for group in groups if group.name not in keep and (allow_delete_active or not group.enabled)]
    return _dropped(groups, candidates, shrink_to_size, larger_first=retain_larger_over_newer)


def to_disable(
    groups: Sequence[ServerGroup],
    remaining_enabled: int,
    *,
    keep: Collection[str] = (),
) -> tuple[ServerGroup, ...]:
    """Return the enabled groups to disable so that the newest `remaining_enabled` stay, and those named in `keep`."""
    enabled = [group for group in groups if group.enabled]
    candidates = [group for group in enabled if group.name not in keep]
    return _dropped(enabled, candidates, remaining_enabled, larger_first=False)


def to_scale_down(
    groups: Sequence[ServerGroup],
    remaining_full_size: int,
    *,
    allow_scale_down_active: bool = False,
    prefer_larger_over_newer: bool = False,
) -> tuple[ServerGroup, ...]:
    """Return the groups to scale to 0/0/0 so that `remaining_full_size` keep their instances."""
    candidates = [group for group in groups if allow_scale_down_active or not group.enabled]
    dropped = _dropped(groups, candidates, remaining_full_size, larger_first=prefer_larger_over_newer)
    return tuple(group for group in dropped if group.capacity.max > 0 or group.instances)


def serving(groups: Sequence[ServerGroup]) -> ServerGroup | None:
    """Return the newest enabled group, or None."""
    return next((group for group in reversed(groups) if group.enabled), None)


def to_restore(groups: Sequence[ServerGroup], rolled_back: ServerGroup) -> ServerGroup | None:
    """Return the group to go back to: the newest, older than the one rolled back, that can be launched and once served.

    A group that never took traffic (its deployment failed, or it was made by hand) is passed over. Where the cloud
    does not record when groups took traffic, as shown by the serving group having no such time, the newest older one
    that can be launched is taken; its health is seen before anything is disabled in any case.
    """
    names = [group.name for group in groups]
    older = groups[: names.index(rolled_back.name)]
    records_traffic = rolled_back.enabled_at_ms > 0
    for group in reversed(older):
        launchable = bool(group.launch.command or group.launch.image)
        once_served = group.enabled or group.enabled_at_ms > 0 or not records_traffic
        if launchable and once_served:
            return group
    return None


def _dropped(
    groups: Sequence[ServerGroup],
    candidates: Sequence[ServerGroup],
    keep: int,
    *,
    larger_first: bool,
) -> tuple[ServerGroup, ...]:
    """Return the candidates beyond `keep - (total - candidates)`, in the order in which they are kept."""
    age = {group.name: position for position, group in enumerate(groups)}
    kept_first = sorted(
        candidates,
        key=lambda group: (
            not group.enabled,
            -len(group.instances) if larger_first else 0,
            -age[group.name],
        ),
    )
    return tuple(kept_first[max(0, keep - (len(groups) - len(candidates))) :])
