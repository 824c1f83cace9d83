"""The contract and everything above it speak of no particular cloud, so that the next provider fits in beside these."""

import re
from pathlib import Path

import pytest

DELIVERY = Path(__file__).parents[3] / "src" / "stormsail" / "delivery"
ABOVE = [
    *[DELIVERY / "providers" / name for name in ("provider.py", "errors.py", "sharing.py", "urgency.py")],
    *[file for room in ("model", "operations", "strategies") for file in sorted((DELIVERY / room).glob("*.py"))],
    DELIVERY / "activities.py",
]
OF_A_CLOUD = re.compile(
    r"\b(aws|amazon|asgs?|ec2|elb(v2)?|arn|ami|boto3?|auto ?scaling groups?|haproxy)\b", re.IGNORECASE
)


@pytest.mark.parametrize("file", ABOVE, ids=lambda file: file.stem)
def test_what_stands_above_the_providers_names_no_cloud(file: Path) -> None:
    assert OF_A_CLOUD.findall(file.read_text(encoding="utf-8")) == []
