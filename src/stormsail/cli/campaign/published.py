"""The numbers of the legacy arm, each with where it was published. None is tuned: the weather decides how much fails.

Orca, Clouddriver and the AWS SDK were read as published on GitHub. "The post" is Netflix's "How Temporal Powers
Reliable Cloud Operations at Netflix", 15 Dec 2025.
"""

from typing import Final, NamedTuple


class Published(NamedTuple):
    """One number."""

    name: str
    value: float
    unit: str
    source: str


POLL: Final = Published("task polled every", 5, "s", "Orca MonitorKatoTask.getBackoffPeriod")
TASK_TIMEOUT: Final = Published("task given up after", 3600, "s", "Orca MonitorKatoTask.getTimeout")
NOT_FOUND_MAX: Final = Published("404s tolerated in a row", 30, "", "Orca MonitorKatoTask.MAX_NOTFOUND_RETRIES")
HTTP_TRIES: Final = Published("tries of one HTTP call", 5, "", "Orca MonitorKatoTask.MAX_HTTP_INTERNAL_RETRIES")
HTTP_PAUSE: Final = Published("pause between them", 0.1, "s", "Orca MonitorKatoTask, retrySupport.retry")
HEALTH_POLL: Final = Published("health polled every", 10, "s", "Orca AbstractInstancesCheckTask.BACKOFF_PERIOD")
HEALTH_TIMEOUT: Final = Published("health given up after", 7200, "s", "Orca AbstractInstancesCheckTask.TIMEOUT")
CLOUD_RETRIES: Final = Published(
    "retries of one cloud call", 3, "", "Clouddriver AwsConfigurationProperties.ClientConfig.maxErrorRetry"
)
CLOUD_PAUSE: Final = Published(
    "first pause between them, doubled each time", 0.5, "s", "AWS SDK for Java 1, SDK_DEFAULT_THROTTLED_BASE_DELAY"
)
CLOUD_PAUSE_MAX: Final = Published(
    "longest such pause", 20, "s", "AWS SDK for Java 1, SDK_DEFAULT_MAX_BACKOFF_IN_MILLISECONDS"
)

ALL: Final = (
    POLL,
    TASK_TIMEOUT,
    NOT_FOUND_MAX,
    HTTP_TRIES,
    HTTP_PAUSE,
    HEALTH_POLL,
    HEALTH_TIMEOUT,
    CLOUD_RETRIES,
    CLOUD_PAUSE,
    CLOUD_PAUSE_MAX,
)

SHAPE: Final = (
    "The orchestrator posts an untyped bag of fields to the operations service and gets a task's id; the service keeps "
    "its tasks in its own process, so a service that was killed answers 404 for them (the post).",
    "A post is repeated with the same client request id, which finds its task for as long as the service lives "
    "(clientRequestId of Clouddriver's /ops).",
    "The orchestrator keeps its own state on disk: killed, it polls on where it was.",
    "Orca deploys by rolling red/black in these tasks. It has no canary by weight: that one is made of the same "
    "posted and polled tasks, one for each change of weight, and as long a way meets more trouble.",
)
GENEROUS: Final = (
    "A deployment that is cancelled lets the task under way come to its end, and then destroys what it made.",
    "A cloud call that is repeated after a lost reply finds what the first one made and takes it for its own.",
    "Reads come from the cloud itself, not from a cache, and one that failed is repeated at the next poll.",
    "Posts are tried as often as polls are.",
    "All repeated cloud calls pause as throttled ones do, five times as long as the others would.",
    "When an instance of the operations service is killed another one answers at once; only its tasks are gone.",
)
"""Where sources differ or are not public, the legacy arm is given the better of the two."""
