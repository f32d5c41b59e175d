"""The terms of the service: what its settings ask of submissions."""

from raytasks import __version__
from raytasks.handling.submission import PayloadBounds
from raytasks.protocol.places import Terms
from raytasks.settings import Settings
from raytasks.tracker.outbox_intake import OutboxTerms


def outbox_terms_of(settings: Settings) -> OutboxTerms:
    """Return the terms that these settings give for the rows of the outbox."""
    bounds = PayloadBounds(settings.max_payload_bytes, settings.max_depth)
    return OutboxTerms(bounds, settings.callback_terms)


def terms_of(settings: Settings) -> Terms:
    """Return the terms that these settings give."""
    return Terms(
        artifacts_url=settings.artifacts_url,
        offload_bytes=settings.offload_bytes,
        max_result_bytes=settings.max_result_bytes,
        max_payload_bytes=settings.max_payload_bytes,
        max_depth=settings.max_depth,
        max_batch_bytes=settings.max_batch_bytes,
        version=__version__,
        callback_namespaces=tuple(sorted(settings.callback_secrets)),
        callback_allowed_hosts=settings.callback_allowed_hosts,
    )
