"""What may be set: of an account (where and how fast to call), and of a launch (what the instances are)."""

from collections.abc import Mapping
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from stormsail.delivery.model.server_group import LaunchSpec
from stormsail.delivery.providers.errors import InvalidLaunch, Permanent

USER_TAGS_MAX: Final = 15
"""AWS allows 50 tags on a group; the provider's own records take up to 33 of them."""


class AccountSettings(BaseModel):
    """One AWS account in one region. Credentials are never settings: the AWS library finds them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    region: str
    profile: str = ""
    """A profile of the worker's AWS configuration, which may assume a role; else the library's usual order."""
    endpoint_url: str = ""
    """Another address than AWS's own: a private endpoint, or a test's."""
    calls_per_second: float = Field(default=10.0, gt=0, le=1000)
    burst: int = Field(default=20, ge=1, le=1000)
    threads: int = Field(default=8, ge=1, le=64)
    """Calls under way at a time."""
    connect_timeout_s: float = Field(default=3.0, gt=0, le=60)
    read_timeout_s: float = Field(default=15.0, gt=0, le=120)
    poll_s: float = Field(default=1.0, ge=0, le=10)
    """How long `resume` waits before it looks again."""


class LaunchSettings(BaseModel):
    """The `settings` of a launch specification."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    instance_type: str
    subnets: tuple[str, ...] = ()
    availability_zones: tuple[str, ...] = ()
    """For accounts with a default network, instead of subnets."""
    security_groups: tuple[str, ...] = ()
    """Ids."""
    target_groups: tuple[str, ...] = ()
    """Names or ARNs of target groups with target type `instance`."""
    iam_instance_profile: str = ""
    """A name or an ARN."""
    key_name: str = ""
    user_data: str = ""
    """In plain text; it is encoded on the way."""
    public_ip: bool | None = None
    """None leaves it to the subnet."""
    imds: Literal["required", "optional"] = "required"
    """Whether instances must use version 2 of the metadata service."""
    ebs_optimized: bool = False
    tags: dict[str, str] = Field(default_factory=dict, max_length=USER_TAGS_MAX)
    """Put on the group and its instances."""

    @model_validator(mode="after")
    def _placed(self) -> "LaunchSettings":
        if not self.subnets and not self.availability_zones:
            raise ValueError("say where to run: set subnets, or availability_zones")
        reserved = [key for key in self.tags if key.lower().startswith(("aws:", "stormsail:")) or key == "Name"]
        if reserved:
            raise ValueError(f"the tag {reserved[0]!r} is set by AWS or by Stormsail")
        return self


def account_settings(account: str, settings: Mapping[str, str]) -> AccountSettings:
    """Read an account's settings. Raises Permanent that names the wrong ones."""
    secret = [key for key in settings if "secret" in key.lower() or "access_key" in key.lower()]
    if secret:
        raise Permanent(
            f"account {account}: {secret[0]} is no setting of the aws provider: give the worker an instance role or "
            "name a profile of its AWS configuration in the setting profile"
        )
    try:
        return AccountSettings.model_validate(dict(settings))
    except ValidationError as error:
        raise Permanent(f"account {account}: {described(error, 'the aws provider')}") from None


def launch_settings(launch: LaunchSpec) -> LaunchSettings:
    """Read a launch's settings. Raises InvalidLaunch that names what is wrong."""
    if not launch.image:
        raise InvalidLaunch("launch.image: name the machine image to boot, as ami-...")
    for field in ("command", "environment"):
        if getattr(launch, field):
            raise InvalidLaunch(
                f"launch.{field}: an AWS instance runs what its image and its user data say: leave {field} out and "
                "use settings.user_data"
            )
    try:
        return LaunchSettings.model_validate(launch.settings)
    except ValidationError as error:
        raise InvalidLaunch(f"launch.settings: {described(error, 'a launch on AWS')}") from None


def described(error: ValidationError, whose: str) -> str:
    """Say in words which setting is wrong, without its value."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"{whose} needs the setting {name}"
    if first["type"] == "extra_forbidden":
        return f"{whose} has no setting {name}"
    return f"{f'setting {name}: ' if name else ''}{first['msg'].removeprefix('Value error, ')}"
