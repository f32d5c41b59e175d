"""The service's terms: what a driver must know before it submits."""

from dataclasses import dataclass, field

from raytasks.artifacts.artifact_store import ArtifactStore
from raytasks.artifacts.large_values import LargeValues
from raytasks.handling.callback_terms import NO_CALLBACKS, CallbackTerms
from raytasks.handling.submission import PayloadBounds
from raytasks.protocol.places import Terms


@dataclass(frozen=True)
class DriverTerms:
    """The service's settings for submissions. A driver's own settings may differ.

    At most `max_batch_bytes` of payloads go in one call. The `version` is the service's version of
    raytasks; it is empty if the service does not tell it.
    """

    values: LargeValues
    bounds: PayloadBounds = field(default_factory=PayloadBounds)
    max_batch_bytes: int = 16 * 1024 * 1024
    version: str = ""
    callbacks: CallbackTerms = NO_CALLBACKS

    @classmethod
    def of(cls, terms: Terms) -> "DriverTerms":
        """Return the terms that the service has sent."""
        return cls(
            LargeValues(
                ArtifactStore(terms.artifacts_url), terms.offload_bytes, terms.max_result_bytes
            ),
            PayloadBounds(terms.max_payload_bytes, terms.max_depth),
            terms.max_batch_bytes,
            terms.version,
            CallbackTerms(frozenset(terms.callback_namespaces), terms.callback_allowed_hosts),
        )
