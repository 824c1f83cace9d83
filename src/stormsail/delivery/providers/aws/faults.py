"""What AWS and its client say, sorted into the contract's classes: the one table, and the function that reads it.

The client's exceptions are known by name, so that this module needs no AWS library and the table can be read alone.
"""

import re
from collections.abc import Mapping
from typing import Final

from stormsail.delivery.providers.errors import (
    Conflict,
    InvalidLaunch,
    NotFound,
    Permanent,
    ProviderError,
    Transient,
    UnknownOutcome,
)

MESSAGE_MAX: Final = 600
"""Characters of an AWS message that are passed on."""

# What AWS answers, by code. UnknownOutcome is for writes only: a read that fails so is Transient.
CODES: Final[Mapping[str, type[ProviderError]]] = {
    # Too many calls.
    "Throttling": Transient,
    "ThrottlingException": Transient,
    "ThrottledException": Transient,
    "RequestThrottled": Transient,
    "RequestThrottledException": Transient,
    "RequestLimitExceeded": Transient,
    "TooManyRequestsException": Transient,
    "EC2ThrottledException": Transient,
    "SlowDown": Transient,
    "BandwidthLimitExceeded": Transient,
    "PriorRequestNotComplete": Transient,
    # Refused before anything was done.
    "ServiceUnavailable": Transient,
    "ServiceUnavailableException": Transient,
    "Unavailable": Transient,
    "InsufficientInstanceCapacity": Transient,
    "InsufficientAddressCapacity": Transient,
    # Something else is under way on the same thing; it ends by itself.
    "ResourceContention": Transient,
    "ResourceContentionFault": Transient,
    "ScalingActivityInProgress": Transient,
    "ScalingActivityInProgressFault": Transient,
    "ResourceInUse": Transient,
    "ResourceInUseFault": Transient,
    "OperationInProgress": Transient,
    "IncorrectState": Transient,
    "IncorrectInstanceState": Transient,
    # One part of AWS does not know yet what another has just made or ended.
    "InvalidTarget": Transient,
    "InvalidInstanceID.NotFound": Transient,
    # Credentials or a clock that the next call may have right again.
    "ExpiredToken": Transient,
    "ExpiredTokenException": Transient,
    "RequestExpired": Transient,
    "RequestTimeTooSkewed": Transient,
    # Failed somewhere inside, before or after the effect.
    "InternalError": UnknownOutcome,
    "InternalFailure": UnknownOutcome,
    "InternalServerError": UnknownOutcome,
    "ServerInternal": UnknownOutcome,
    "RequestTimeout": UnknownOutcome,
    "RequestTimeoutException": UnknownOutcome,
    "GatewayTimeout": UnknownOutcome,
    # Missing.
    "InvalidLaunchTemplateName.NotFoundException": NotFound,
    "InvalidLaunchTemplateId.NotFound": NotFound,
    "InvalidLaunchTemplateId.NotFoundException": NotFound,
    "TargetGroupNotFound": NotFound,
    "TargetGroupNotFoundException": NotFound,
    "LoadBalancerNotFound": NotFound,
    "LoadBalancerNotFoundException": NotFound,
    "ListenerNotFound": NotFound,
    "ListenerNotFoundException": NotFound,
    "RuleNotFound": NotFound,
    "InvalidPermission.NotFound": NotFound,
    # There already.
    "AlreadyExists": Conflict,
    "AlreadyExistsFault": Conflict,
    "InvalidLaunchTemplateName.AlreadyExistsException": Conflict,
    "IdempotentParameterMismatch": Conflict,
    "DuplicateLoadBalancerName": Conflict,
    "DuplicateTargetGroupName": Conflict,
    "DuplicateListener": Conflict,
    "InvalidGroup.Duplicate": Conflict,
    "InvalidPermission.Duplicate": Conflict,
    # In use.
    "DependencyViolation": Conflict,
    # Cannot run.
    "InvalidAMIID.NotFound": InvalidLaunch,
    "InvalidAMIID.Malformed": InvalidLaunch,
    "InvalidAMIID.Unavailable": InvalidLaunch,
    "InvalidGroup.NotFound": InvalidLaunch,
    "InvalidGroupId.Malformed": InvalidLaunch,
    "InvalidKeyPair.NotFound": InvalidLaunch,
    "InvalidSubnetID.NotFound": InvalidLaunch,
    "InvalidIamInstanceProfileArn.Malformed": InvalidLaunch,
    "InvalidUserData.Malformed": InvalidLaunch,
    # Will not be allowed or understood the next time either.
    "AccessDenied": Permanent,
    "AccessDeniedException": Permanent,
    "UnauthorizedOperation": Permanent,
    "AuthFailure": Permanent,
    "Blocked": Permanent,
    "OptInRequired": Permanent,
    "PendingVerification": Permanent,
    "InvalidClientTokenId": Permanent,
    "UnrecognizedClientException": Permanent,
    "SignatureDoesNotMatch": Permanent,
    "IncompleteSignature": Permanent,
    "MissingAuthenticationToken": Permanent,
    "ValidationError": Permanent,
    "InvalidParameterValue": Permanent,
    "InvalidParameterCombination": Permanent,
    "MissingParameter": Permanent,
    "LimitExceeded": Permanent,
    "LimitExceededFault": Permanent,
    "TooManyTargets": Permanent,
    "TooManyRegistrationsForTargetId": Permanent,
}

# ValidationError means many things; the first pattern that its message has decides.
MESSAGES: Final[tuple[tuple[str, type[ProviderError]], ...]] = (
    (r"specified launch template", Transient),  # it was made, or ended, a moment ago
    (r"pending delete|delete in progress", Transient),
    (r"AutoScalingGroup name not found|AutoScalingGroup .*not found", NotFound),
    (r"not in InService|is not part of Auto Scaling group|No managed instance found", Transient),
    (r"target groups? .*(not found|could not be found|does not exist)", InvalidLaunch),
    (r"image id|ami-|instance type|IamInstanceProfile|instance profile|key pair|security group", InvalidLaunch),
    (r"subnet|availability zone|fully-formed launch template|user data", InvalidLaunch),
)

# What an auto scaling group reports of a launch that no later try can help.
FAILED_LAUNCHES: Final = re.compile(
    r"image id .*(does not exist|not found)|InvalidAMIID|Invalid IamInstanceProfile|key pair .* does not exist"
    r"|security group .* does not exist|subnet .* does not exist|not (authorized|supported)"
    r"|architecture .* does not match"
    r"|AMI .*(pending|disabled|deregistered)|launch template .*does not exist",
    re.IGNORECASE,
)

# What the client itself says, by the name of the exception or of one that it derives from, nearest first.
CLIENT: Final[Mapping[str, type[ProviderError]]] = {
    # Never sent.
    "ConnectTimeoutError": Transient,
    "EndpointConnectionError": Transient,
    "ProxyConnectionError": Transient,
    "CredentialRetrievalError": Transient,
    "MetadataRetrievalError": Transient,
    "TokenRetrievalError": Transient,
    "NoCredentialsError": Permanent,
    "PartialCredentialsError": Permanent,
    "ProfileNotFound": Permanent,
    "SSOError": Permanent,
    "ParamValidationError": Permanent,
    # Sent, and the answer did not come or could not be read.
    "ReadTimeoutError": UnknownOutcome,
    "ConnectionClosedError": UnknownOutcome,
    "IncompleteReadError": UnknownOutcome,
    "ResponseStreamingError": UnknownOutcome,
    "ResponseParserError": UnknownOutcome,
    "ConnectionError": UnknownOutcome,
    "HTTPClientError": UnknownOutcome,
    "BotoCoreError": Permanent,
}

# A code that the table lacks.
STATUSES: Final[Mapping[int, type[ProviderError]]] = {429: Transient, 503: Transient}

NEXT: Final[Mapping[str, str]] = {
    "AccessDenied": "allow the action to the worker's role (docs/providers/aws.md lists them all)",
    "UnauthorizedOperation": "allow the action to the worker's role (docs/providers/aws.md lists them all)",
    "AuthFailure": "check the worker's credentials",
    "NoCredentialsError": "give the worker credentials: an instance role, AWS_PROFILE or the setting profile",
    "DependencyViolation": "something uses it still: remove that first",
    "LimitExceeded": "ask AWS for a higher quota, or destroy some server groups",
}

THROTTLED: Final = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "EC2ThrottledException",
        "SlowDown",
    }
)
"""The codes after which an account is called more slowly."""


def code_of(error: Exception) -> str:
    """Return AWS's code of an error, or the exception's name where AWS did not answer."""
    answered = getattr(error, "response", None)
    if isinstance(answered, dict):
        return str(answered.get("Error", {}).get("Code", "")) or "UnknownError"
    return type(error).__name__


def sort_fault(error: Exception, operation: str, *, writes: bool) -> ProviderError:
    """Return what a failed call means. `writes` says whether it may have changed something."""
    answered = getattr(error, "response", None)
    code = code_of(error)
    if isinstance(answered, dict):
        status = int(answered.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        message = str(answered.get("Error", {}).get("Message", ""))[:MESSAGE_MAX]
        kind = _answered(code, message, status)
        said = f"AWS {operation}: {code}: {message}"
    else:
        kind = next((CLIENT[one.__name__] for one in type(error).__mro__ if one.__name__ in CLIENT), Permanent)
        said = f"AWS {operation}: {code}: {_plain(error)}"
    if kind is UnknownOutcome and not writes:
        kind = Transient
    advice = NEXT.get(code)
    return kind(f"{said}; {advice}" if advice else said)


def _answered(code: str, message: str, status: int) -> type[ProviderError]:
    # The query protocol's codes come with and without a suffix, as in `Client.InvalidAMIID.NotFound`.
    code = code.removeprefix("Client.").removeprefix("Server.")
    kind = CODES.get(code)
    if kind is Permanent:
        matched = (found for pattern, found in MESSAGES if re.search(pattern, message, re.IGNORECASE))
        return next(matched, Permanent) if code == "ValidationError" else Permanent
    if kind is not None:
        return kind
    return STATUSES.get(status, UnknownOutcome if status >= 500 or status < 400 else Permanent)


def _plain(error: Exception) -> str:
    # The first line only: an answer that cannot be parsed follows whole.
    return next(iter(str(error).splitlines()), "")[:MESSAGE_MAX]
