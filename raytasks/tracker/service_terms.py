"""The terms of the service: what its settings ask of submissions."""

from raytasks import __version__
from raytasks.protocol.places import Terms
from raytasks.settings import Settings


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
