"""The terms of callbacks: which URLs a submission may name, and in which namespaces."""

from dataclasses import dataclass

from raytasks.model.errors import FieldError, InvalidSubmission
from raytasks.model.retry import PermanentError

ALLOWED_HOSTS = "RAYTASKS_CALLBACK_ALLOWED_HOSTS"
"""The setting that lists private receivers."""


@dataclass(frozen=True)
class CallbackTerms:
    """The service's settings for callbacks.

    - `namespaces`: those that have a secret to sign with.
    - `allowed_hosts`: the hosts (`host` or `host:port`) that may have private addresses.
    """

    namespaces: frozenset[str] = frozenset()
    allowed_hosts: tuple[str, ...] = ()

    def check(self, url: str | None, namespace: str) -> None:
        """Refuse a URL to which no callback could be sent. Raises `InvalidSubmission`.

        Nothing is resolved: the addresses of a name are checked at each delivery.
        """
        if url is None:
            return
        if namespace not in self.namespaces:
            raise _refused(
                f"the namespace {namespace!r} has no secret to sign callbacks with; add "
                f"{namespace}=whsec_… to RAYTASKS_CALLBACK_SECRETS of the service"
            )
        # Imported late: few submissions have a URL.
        from raytasks.handling.guarded_connection import (
            AllowedHosts,
            check_literal_host,
            check_url,
        )

        try:
            hosts = AllowedHosts.listed(self.allowed_hosts, ALLOWED_HOSTS)
            check_literal_host(check_url(url), hosts)
        except PermanentError as error:
            raise _refused(str(error)) from None


NO_CALLBACKS = CallbackTerms()
"""The terms of a service without secrets."""


def _refused(message: str) -> InvalidSubmission:
    return InvalidSubmission("the request is not valid", [FieldError("/callback_url", message)])
