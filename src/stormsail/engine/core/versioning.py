"""Overrides of how a run follows its workers' versions: what one may say, and the one way in which histories say it.

Worker deployments are not served here, so no task queue has a version that a run could be pinned to.
"""

from typing import Final

from temporalio.api.enums.v1 import VersioningBehavior
from temporalio.api.workflow.v1 import VersioningOverride

from stormsail.engine.core.errors import FailedPrecondition, InvalidArgument

_PINNED: Final = VersioningBehavior.VERSIONING_BEHAVIOR_PINNED
_AUTO_UPGRADE: Final = VersioningBehavior.VERSIONING_BEHAVIOR_AUTO_UPGRADE
_UNSPECIFIED: Final = VersioningBehavior.VERSIONING_BEHAVIOR_UNSPECIFIED


def check(override: VersioningOverride, task_queue: str) -> None:
    """Refuse an override that contradicts itself, or that pins to a version, for the task queue has none."""
    check_structure(override)
    version = _version(override)
    if version:
        raise FailedPrecondition(
            f"Pinned version '{version}' is not present in task queue '{task_queue}' of type 'Workflow'"
        )


def check_structure(override: VersioningOverride) -> None:
    """Refuse an override that contradicts itself."""
    match override.WhichOneof("override"):
        case "auto_upgrade":
            return
        case "pinned":
            if not override.pinned.behavior:
                raise InvalidArgument("must specify pinned override behavior if override is pinned.")
        case "one_time":
            if not override.one_time.HasField("target_deployment_version"):
                raise InvalidArgument("must provide target deployment version if override is one-time.")
        case _:
            _check_older(override)


def _check_older(override: VersioningOverride) -> None:
    if override.behavior == _UNSPECIFIED:
        raise InvalidArgument("override behavior is required")
    if override.behavior == _PINNED:
        if not override.HasField("deployment") and not override.pinned_version:
            raise InvalidArgument("must provide deployment (deprecated) or pinned version if behavior is 'PINNED'")
        if not override.HasField("deployment") and not all(override.pinned_version.partition(".")):
            raise InvalidArgument(
                f'invalid version string "{override.pinned_version}", expected format is "<deployment_name>.<build_id>"'
            )
    elif override.behavior == _AUTO_UPGRADE:
        for name, given in (
            ("deployment", override.HasField("deployment")),
            ("pinned version", bool(override.pinned_version)),
        ):
            if given:
                raise InvalidArgument(f"only provide {name} if behavior is 'PINNED'")
    else:
        raise InvalidArgument(f"override behavior {override.behavior} not recognized")


def canonical(override: VersioningOverride) -> VersioningOverride:
    """Return an override that was checked as histories keep it, also where it was said the older way."""
    assert behavior(override) == _AUTO_UPGRADE, "no run is pinned"
    return VersioningOverride(auto_upgrade=True)


def behavior(override: VersioningOverride) -> VersioningBehavior.ValueType:
    """Return what an override comes to."""
    match override.WhichOneof("override"):
        case "auto_upgrade":
            return _AUTO_UPGRADE
        case "pinned" | "one_time":
            return _PINNED
        case _:
            return override.behavior


def behavior_name(override: VersioningOverride | None) -> str:
    """Return the name of what an override comes to, as search attributes and errors have it."""
    kind = _UNSPECIFIED if override is None else behavior(override)
    return VersioningBehavior.Name(kind).removeprefix("VERSIONING_BEHAVIOR_").title().replace("_", "")


def _version(override: VersioningOverride) -> str:
    """Return the version that an override names as errors show it, "" for none."""
    match override.WhichOneof("override"):
        case "pinned":
            version = override.pinned.version
            return f"{version.deployment_name}:{version.build_id}"
        case "one_time":
            version = override.one_time.target_deployment_version
            return f"{version.deployment_name}:{version.build_id}"
    if override.HasField("deployment"):
        return f"{override.deployment.series_name}:{override.deployment.build_id}"
    return override.pinned_version.replace(".", ":", 1)
