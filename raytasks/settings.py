"""Settings, from the environment and from a `.env` file in the working directory."""

import difflib
import ipaddress
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic import (
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from raytasks.api_keys import ApiKey, parse_keys
from raytasks.artifacts.large_values import MAX_RESULT_BYTES, OFFLOAD_BYTES
from raytasks.handling.callback_secrets import parse_secrets
from raytasks.handling.callback_terms import CallbackTerms
from raytasks.handling.modules import default_modules
from raytasks.model.schema_names import check_schema, with_schema
from raytasks.model.tasks import RaytasksError
from raytasks.observe.traces import TraceParenting
from raytasks.service_links import without_links

_FILE = ".env"
_ENCODING = "utf-8"

PREFIX = "RAYTASKS_"
"""The prefix of our settings' names."""

_OTHERS = {
    PREFIX + name
    for name in (
        "URL",
        "API_KEY",
        "NAMESPACE",
        "GENERATION",
        "HEAD_ENDS",
        "OWNER",
        "FORMER_CLUSTER",
    )
}
"""Further names with our prefix: settings of the client, and values between our processes."""

DEFAULT_SECRET_KEY = "change-me"  # noqa: S105 - it is refused where it would matter


LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
LogFormat = Literal["text", "json"]
_LEVELS = {"WARN": "WARNING", "CRITICAL": "ERROR", "FATAL": "ERROR"}  # other programs' names


class SettingsError(RaytasksError):
    """A setting has an invalid value. The text names the setting and the fix."""


class Settings(BaseSettings):
    """The settings of the service. `.env.example` lists the names with their meaning.

    Each is read as `RAYTASKS_NAME`, else as plain `NAME`. The environment wins over `.env`.
    """

    model_config = SettingsConfigDict(
        env_file=_FILE,
        env_file_encoding=_ENCODING,
        extra="ignore",
        frozen=True,
        allow_inf_nan=False,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources of values, the winner first: our own names win over plain ones."""
        prefixed = EnvSettingsSource(settings_cls, env_prefix=PREFIX)
        for source in (prefixed, env_settings):
            if isinstance(source, EnvSettingsSource):
                source.env_vars = _lower_without_links()
        ours: tuple[PydanticBaseSettingsSource, ...] = (prefixed,)
        if isinstance(dotenv_settings, DotEnvSettingsSource):
            file, encoding = dotenv_settings.env_file, dotenv_settings.env_file_encoding
            ours += (DotEnvSettingsSource(settings_cls, file, encoding, env_prefix=PREFIX),)
        plain = (env_settings, dotenv_settings, file_secret_settings)
        return (init_settings, *ours, *plain)

    # A value that may hold a secret is not shown where settings are printed.
    database_schema: str | None = None  # before the URL, which takes it in
    database_url: str = Field(default="sqlite:///./tasks.db", repr=False)
    redis_url: str | None = Field(default=None, repr=False)
    secret_key: str = Field(default=DEFAULT_SECRET_KEY, repr=False)
    debug: bool = True
    api_keys: Annotated[tuple[ApiKey, ...], NoDecode] = ()
    ray_address: str | None = None
    task_modules: Annotated[tuple[str, ...], NoDecode] = Field(default_factory=default_modules)
    artifacts_url: str = "./artifacts"
    callback_secrets: Annotated[Mapping[str, tuple[str, ...]], NoDecode] = Field(
        default_factory=dict, repr=False
    )
    callback_allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()

    listen_host: str = "127.0.0.1"
    listen_port: int | None = Field(default=None, ge=1, le=65535)

    max_payload_bytes: int = Field(default=1024 * 1024, ge=1)
    max_depth: int = Field(default=100, ge=1, le=190)  # the parser's maximum is 200
    max_waiting_clients: int = Field(default=2000, ge=1)
    body_seconds: float = Field(default=10.0, gt=0)
    artifact_link_seconds: float = Field(default=3600.0, ge=1)
    max_batch_bytes: int = Field(default=16 * 1024 * 1024, ge=1)
    offload_bytes: int = Field(default=OFFLOAD_BYTES, ge=1)
    max_result_bytes: int = Field(default=MAX_RESULT_BYTES, ge=1)
    max_backlog: int = Field(default=1_000_000, ge=1)
    max_crashes: int = Field(default=3, ge=0)
    priority_step_seconds: float = Field(default=60.0, ge=0)

    lease_seconds: float = Field(default=15.0, ge=1)
    api_replicas: int = Field(default=1, ge=1, le=64)
    warm_runners_min: int = Field(default=1, ge=0)
    warm_runners_max: int | None = Field(default=None, ge=1)
    runner_idle_seconds: float = Field(default=30.0, gt=0)
    runner_max_tasks: int = Field(default=100_000, ge=1)
    runner_max_memory_bytes: int = Field(default=2 * 1024**3, ge=1)
    stop_grace_seconds: float = Field(default=10.0, ge=0)
    drain_seconds: float = Field(default=86_400.0, ge=0)
    trace_parenting: TraceParenting = TraceParenting.LINK
    retention_seconds: float | None = Field(default=30 * 86_400.0, gt=0)
    health_wait_seconds: float = Field(default=300.0, gt=0)
    health_stall_seconds: float = Field(default=600.0, gt=0)

    log_level: LogLevel = "INFO"
    log_format: LogFormat = "text"
    log_file: str | None = None
    log_file_bytes: int = Field(default=64 * 1024 * 1024, ge=4096)

    @field_validator("task_modules", mode="before")
    @classmethod
    def _split_modules(cls, value: Any) -> Any:
        if isinstance(value, str):
            names = tuple(name.strip() for name in value.split(",") if name.strip())
            return names or default_modules()
        return value

    @field_validator("api_keys", mode="before")
    @classmethod
    def _parse_keys(cls, value: Any) -> Any:
        return parse_keys(value) if isinstance(value, str) else value

    @field_validator("callback_secrets", mode="before")
    @classmethod
    def _parse_secrets(cls, value: Any) -> Any:
        return parse_secrets(value) if isinstance(value, str) else value

    @field_validator("callback_allowed_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @field_validator(
        "database_schema",
        "redis_url",
        "ray_address",
        "listen_port",
        "warm_runners_max",
        "retention_seconds",
        "log_file",
        mode="before",
    )
    @classmethod
    def _empty_is_unset(cls, value: Any) -> Any:
        return None if value == "" else value

    @field_validator("database_schema")
    @classmethod
    def _check_schema(cls, value: str | None) -> str | None:
        return value and check_schema(value)

    @field_validator("database_url")
    @classmethod
    def _absolute_database(cls, value: str) -> str:
        # The tracker may have another working directory than the reader of the setting.
        scheme, _, rest = value.partition(":///")
        path, mark, query = rest.partition("?")
        if scheme not in ("sqlite", "sqlite+pysqlite") or not path:
            return value
        if path.startswith((":memory:", "/", "file:")):
            return value
        return sqlite_url(Path(unquote(path)).resolve(), scheme) + mark + query

    @field_validator("database_url")
    @classmethod
    def _take_in_schema(cls, value: str, info: ValidationInfo) -> str:
        # All that opens the database gets its URL, so the schema is a part of it.
        schema = info.data.get("database_schema")
        return with_schema(value, schema) if schema else value

    @field_validator("artifacts_url")
    @classmethod
    def _absolute_folder(cls, value: str) -> str:
        return value if "://" in value else str(Path(value).resolve())

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper_level(cls, value: Any) -> Any:
        return _LEVELS.get(value.upper(), value.upper()) if isinstance(value, str) else value

    @field_validator("log_file")
    @classmethod
    def _absolute_file(cls, value: str | None) -> str | None:
        return value and str(Path(value).absolute())  # the tracker may work in another folder

    @model_validator(mode="after")
    def _refuse_default_secret(self) -> "Settings":
        if not self.debug and self.has_default_secret:
            raise ValueError(
                "RAYTASKS_SECRET_KEY must be set to a secret of your own when RAYTASKS_DEBUG is off"
            )
        return self

    @model_validator(mode="after")
    def _refuse_crossed_bounds(self) -> "Settings":
        most = self.warm_runners_max
        if most is not None and self.warm_runners_min > most:
            raise ValueError(
                f"RAYTASKS_WARM_RUNNERS_MIN ({self.warm_runners_min}) must not be more than "
                f"RAYTASKS_WARM_RUNNERS_MAX ({most})"
            )
        return self

    @property
    def uses_sqlite(self) -> bool:
        """Whether the database is a file. Then the tracker must be on that file's machine."""
        return self.database_url.startswith("sqlite")

    @property
    def sqlite_path(self) -> Path | None:
        """The file of an SQLite database; None for another one, or without a plain file."""
        path = self.database_url.partition(":///")[2].partition("?")[0]
        if not self.uses_sqlite or not path or path.startswith((":memory:", "file:")):
            return None
        return Path(unquote(path))

    @property
    def has_default_secret(self) -> bool:
        """Whether the secret is the default, which everybody knows."""
        return self.secret_key.strip() in ("", DEFAULT_SECRET_KEY)

    @property
    def callback_terms(self) -> CallbackTerms:
        """The terms of callbacks for submissions."""
        return CallbackTerms(frozenset(self.callback_secrets), self.callback_allowed_hosts)

    def check_served(self, host: str | None = None) -> None:
        """Refuse to serve an API that would be open to strangers.

        `host` is where it will listen, beside `listen_host`.

        Raises `SettingsError`.
        """
        fix = "make one with 'raytasks keys new'"
        if not self.debug and not self.api_keys:
            raise SettingsError(f"RAYTASKS_API_KEYS must be set when RAYTASKS_DEBUG is off; {fix}")
        if self.api_keys and self.has_default_secret:
            raise SettingsError(
                "RAYTASKS_SECRET_KEY must be set to a secret of your own beside RAYTASKS_API_KEYS: "
                "it signs links"
            )
        own = None if self.listen_port is None else self.listen_host
        for place, name in ((host, ""), (own, " (RAYTASKS_LISTEN_HOST)")):
            if place is not None and not is_loopback(place) and not self.api_keys:
                raise SettingsError(
                    f"RAYTASKS_API_KEYS must be set to listen on {place}{name}; {fix}"
                )


def sqlite_url(file: Path, scheme: str = "sqlite") -> str:
    """Return the database URL of a file, with any characters in its path.

    In such a URL `%` begins an escape, and `?` ends the path. No other character is special.
    """
    path = str(file.absolute()).replace("%", "%25").replace("?", "%3F")
    return f"{scheme}:///{path}"


def is_loopback(host: str) -> bool:
    """Return whether a host's name or address can only mean the machine itself."""
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def load_settings(**overrides: Any) -> Settings:
    """Read the settings. Arguments that are not None win over the environment.

    Raises `SettingsError`, whose one line names the bad setting.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        _refuse_broken_lines()
        own = without_links(os.environ)
        _refuse_unknown({*own, *dotenv_values(_FILE, encoding=_ENCODING)})
        return Settings(**given)
    except (UnicodeDecodeError, OSError) as error:
        raise SettingsError(_unreadable(error)) from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]).upper() if first["loc"] else ""
        message = first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{PREFIX}{name}: {message}" if name else message) from None


def _lower_without_links() -> dict[str, str]:
    """Return the environment as pydantic's source has it, but without Kubernetes' service links."""
    return {name.lower(): value for name, value in without_links(os.environ).items()}


def _refuse_unknown(names: Iterable[str]) -> None:
    """Refuse names that look like our settings but are unknown. Raises `SettingsError`."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | _OTHERS
    for name in sorted(name for name in names if name.startswith(PREFIX)):
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "see .env.example for the names"
            raise SettingsError(f"{name}: there is no such setting; {hint}")


def _refuse_broken_lines() -> None:
    """Refuse a file with a line that cannot be read. Raises `SettingsError`."""
    file = Path(_FILE)
    if not file.is_file():
        return
    with file.open(encoding=_ENCODING) as stream:
        broken = next((found.original for found in parse_stream(stream) if found.error), None)
    if broken is not None:
        raise SettingsError(
            f"{file.absolute()}: line {broken.line} cannot be read; write NAME=value, and # before "
            "a comment"
        )


def _unreadable(error: UnicodeDecodeError | OSError) -> str:
    file = Path(_FILE).absolute()
    if isinstance(error, OSError):
        return f"{file}: cannot be read: {error.strerror}"
    line = error.object.count(b"\n", 0, error.start) + 1
    return f"{file}: line {line} is not UTF-8; save the file in that encoding"


def handler_environment() -> dict[str, str]:
    """Return the variables of `.env` that the environment does not set, for handlers to read.

    They do not include our own settings: a handler needs neither the database nor our secrets.
    """
    plain = {name.upper() for name in Settings.model_fields}
    ours = plain | {PREFIX + name for name in plain} | _OTHERS
    return {
        name: value
        for name, value in dotenv_values(_FILE, encoding=_ENCODING).items()
        if value is not None and name not in os.environ and name.upper() not in ours
    }
