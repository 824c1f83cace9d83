"""A launch specification as AWS keeps it: the launch template's data, and the specification itself in its tags.

The specification is packed into tags because AWS keeps nothing else of ours, and `observe` tells it word for word.
"""

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from stormsail.delivery.model.names import parse_name
from stormsail.delivery.model.server_group import LaunchSpec
from stormsail.delivery.providers.aws import ledger
from stormsail.delivery.providers.aws.settings import LaunchSettings
from stormsail.delivery.providers.errors import InvalidLaunch, Permanent

DIGEST: Final = "stormsail:digest"
ENDED: Final = "stormsail:ended"
ENDED_AT: Final = "stormsail:ended-at"
REASON: Final = "stormsail:reason"
SPECIFICATION: Final = "stormsail:launch:"

TAG_MAX: Final = 256
"""Characters of a tag's value."""
PARTS_MAX: Final = 40
"""Tags that a packed specification may take, of the 50 that a launch template may have."""
USER_DATA_MAX: Final = 16_384


def template_name(token: str) -> str:
    """Return the name of a token's launch template. One name a token: AWS itself refuses the second."""
    return f"stormsail-{ledger.token_key(token)}"


def ended_name(token: str) -> str:
    """Return the name of the template that says that a token was ended."""
    return f"{template_name(token)}-ended"


def record_tags(token: str, server_group: str, digest: str, launch: LaunchSpec) -> dict[str, str]:
    """Return the tags of a token's launch template. Raises InvalidLaunch for a specification that does not fit."""
    packed = base64.b64encode(zlib.compress(launch.model_dump_json(exclude_defaults=True).encode(), 9)).decode()
    parts = [packed[at : at + TAG_MAX] for at in range(0, len(packed), TAG_MAX)]
    if len(parts) > PARTS_MAX:
        raise InvalidLaunch(
            f"launch: it takes {len(packed)} characters packed, and AWS keeps {PARTS_MAX * TAG_MAX} in tags: fetch "
            "the larger part of settings.user_data when the instance starts"
        )
    return {
        ledger.APPLICATION: parse_name(server_group).app,
        ledger.SERVER_GROUP: server_group,
        ledger.TOKEN: token,
        DIGEST: digest,
        **{f"{SPECIFICATION}{number:02d}": part for number, part in enumerate(parts)},
    }


def unpack(tags: Mapping[str, str]) -> LaunchSpec:
    """Read the specification from a template's tags. Raises Permanent for tags that somebody has changed."""
    packed = "".join(tags[key] for key in sorted(tags) if key.startswith(SPECIFICATION))
    try:
        return LaunchSpec.model_validate(json.loads(zlib.decompress(base64.b64decode(packed))))
    except (ValueError, zlib.error):
        raise Permanent(
            f"the tags {SPECIFICATION}* of the launch template of {tags.get(ledger.SERVER_GROUP, 'a server group')} "
            "are not as Stormsail wrote them: destroy that auto scaling group by hand"
        ) from None


def template_data(launch: LaunchSpec, settings: LaunchSettings, tags: Mapping[str, str]) -> dict[str, Any]:
    """Return LaunchTemplateData. `tags` go to instances and volumes."""
    user_data = settings.user_data.encode()
    if len(user_data) > USER_DATA_MAX:
        raise InvalidLaunch(f"launch.settings.user_data: {len(user_data)} bytes; AWS takes {USER_DATA_MAX}")
    profile = settings.iam_instance_profile
    data: dict[str, Any] = {
        "ImageId": launch.image,
        "InstanceType": settings.instance_type,
        "EbsOptimized": settings.ebs_optimized,
        "MetadataOptions": {"HttpTokens": settings.imds, "HttpEndpoint": "enabled"},
        "TagSpecifications": [
            {"ResourceType": resource, "Tags": tag_list(tags)} for resource in ("instance", "volume")
        ],
    }
    if settings.public_ip is None:
        data["SecurityGroupIds"] = list(settings.security_groups)
    else:
        interface = {"DeviceIndex": 0, "AssociatePublicIpAddress": settings.public_ip}
        data["NetworkInterfaces"] = [{**interface, "Groups": list(settings.security_groups)}]
    if profile:
        data["IamInstanceProfile"] = {"Arn" if profile.startswith("arn:") else "Name": profile}
    if settings.key_name:
        data["KeyName"] = settings.key_name
    if user_data:
        data["UserData"] = base64.b64encode(user_data).decode()
    return {key: value for key, value in data.items() if value != []}


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Write tags as EC2 wants them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def group_tags(name: str, tags: Mapping[str, str]) -> list[dict[str, Any]]:
    """Write tags as auto scaling wants them. Instances get theirs from the launch template."""
    of = {"ResourceId": name, "ResourceType": "auto-scaling-group", "PropagateAtLaunch": False}
    return [{**of, "Key": key, "Value": value} for key, value in tags.items()]


def read_tags(tags: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Read tags as AWS answers them."""
    return {str(tag["Key"]): str(tag.get("Value", "")) for tag in tags}
