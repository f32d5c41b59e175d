"""Handlers with schedules, for tests of declared ones and of what people set."""

from pydantic import BaseModel, SecretStr

from raytasks import Context, Limit, Schedule, handler


class Report(BaseModel):
    """The payload of a report."""

    account: int
    token: SecretStr = SecretStr("none")


@handler(
    "report",
    limits=[Limit("account", running=1, by="/account")],
    schedules=[
        Schedule(
            "nightly",
            "30 2 * * *",
            timezone="Europe/Berlin",
            payload=Report(account=7),
            tags=["night"],
        ),
        Schedule("often", every_seconds=600, payload={"account": 8}, overlap="skip"),
    ],
)
def report(payload: Report, context: Context) -> dict[str, str | int | None]:
    """Return the account, and the time that the report is for."""
    at = context.scheduled_for
    return {"account": payload.account, "at": None if at is None else at.isoformat()}
