"""What a driver must know of the service before it submits."""

from dataclasses import dataclass, field

from raytasks.artifacts.large_values import LargeValues
from raytasks.handling.submission import PayloadLimits


@dataclass(frozen=True)
class DriverTerms:
    """The service's settings that a submission must keep to; a driver may have others.

    `max_batch_bytes` is how many bytes of payloads go in one call. `version` is the service's
    version of raytasks; one that does not say it has an empty text here.
    """

    values: LargeValues
    limits: PayloadLimits = field(default_factory=PayloadLimits)
    max_batch_bytes: int = 16 * 1024 * 1024
    version: str = ""
