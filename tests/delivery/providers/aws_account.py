"""An AWS account to test with: launches, and providers that know the strict cloud's address."""

from collections.abc import Iterator
from contextlib import contextmanager

from delivery.providers.aws_cloud import GOOD, StrictCloud
from delivery.providers.aws_proxy import REGION, Moto
from stormsail.delivery.model.server_group import LaunchSpec
from stormsail.delivery.providers.aws.provider import open_provider
from stormsail.delivery.providers.provider import Provider

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIDTESTTESTTEST",
    "AWS_SECRET_ACCESS_KEY": "never-to-be-seen-anywhere",
    "AWS_SESSION_TOKEN": "nor-is-this-one",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def settings(cloud: StrictCloud, **more: str) -> dict[str, str]:
    """Return the settings of an account on the strict cloud."""
    quick = {"calls_per_second": "1000", "burst": "1000", "poll_s": "0", "read_timeout_s": "60"}
    return {"region": REGION, "endpoint_url": cloud.proxy.url, **quick, **more}


def launch(cloud: StrictCloud, *target_groups: str, image: str = GOOD, version: str = "v1") -> LaunchSpec:
    """Return a launch on the strict cloud's network."""
    wanted = {"instance_type": "t3.micro", "subnets": [cloud.subnet], "target_groups": list(target_groups)}
    return LaunchSpec(version=version, image=image, settings=wanted)


async def opened(cloud: StrictCloud, account: str = "aws", **more: str) -> Provider:
    """Open the account once more."""
    return await open_provider(account, settings(cloud, **more))


@contextmanager
def strict_cloud(moto: Moto) -> Iterator[StrictCloud]:
    """A cloud with nothing in it."""
    moto.reset()
    cloud = StrictCloud(moto)
    try:
        yield cloud
    finally:
        cloud.proxy.stop()
