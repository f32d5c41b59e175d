"""What a driver must know of the service before it submits."""

from dataclasses import dataclass, field

from raytasks.artifacts.artifact_store import ArtifactStore
from raytasks.artifacts.large_values import LargeValues
from raytasks.handling.submission import PayloadBounds
from raytasks.protocol.places import Terms


@dataclass(frozen=True)
class DriverTerms:
    """The service's settings that a submission must keep to; a driver may have others.

    `max_batch_bytes` is how many bytes of payloads go in one call. `version` is the service's
    version of raytasks; one that does not say it has an empty text here.
    """

    values: LargeValues
    bounds: PayloadBounds = field(default_factory=PayloadBounds)
    max_batch_bytes: int = 16 * 1024 * 1024
    version: str = ""

    @classmethod
    def of(cls, terms: Terms) -> "DriverTerms":
        """Return them as the service has told them."""
        return cls(
            LargeValues(
                ArtifactStore(terms.artifacts_url), terms.offload_bytes, terms.max_result_bytes
            ),
            PayloadBounds(terms.max_payload_bytes, terms.max_depth),
            terms.max_batch_bytes,
            terms.version,
        )
