"""The `raytasks` command."""

import sys
from typing import Annotated

import typer
from rich.console import Console

from raytasks import __version__
from raytasks.cli import (
    artifacts,
    audit,
    bulk,
    demo,
    down,
    env,
    error_table,
    events,
    init,
    keys,
    me,
    operate,
    options,
    stats,
    submit_many,
    tables,
    up,
    watch,
)
from raytasks.cli import (
    task_commands as tasks,
)
from raytasks.client import ApiError, ServiceUnavailable, WaitTimeout
from raytasks.model.tasks import RaytasksError

app = typer.Typer(
    name="raytasks",
    help="A durable task queue that is native to Ray.",
    epilog=options.EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
database = typer.Typer(help="The database.", no_args_is_help=True)
app.add_typer(database, name="db")
api_keys = typer.Typer(help="The keys of the API.", no_args_is_help=True)
app.add_typer(api_keys, name="keys")
api_keys.command("new")(keys.new)

app.command("init")(init.init)
app.command("up")(up.up)
app.command("down")(down.down)
app.command("env")(env.env)
app.command("worker")(up.worker)
app.command("deploy")(operate.deploy)
app.command("drain")(operate.drain)
app.command("resume")(operate.resume)
app.command("stop")(operate.stop)
app.command("demo")(demo.demo)
app.command("submit")(tasks.submit)
app.command("submit-many")(submit_many.submit_many)
app.command("get")(tasks.get)
app.command("list")(tasks.list_tasks)
app.command("events")(events.events)
app.command("watch")(watch.watch)
app.command("artifacts")(artifacts.artifacts)
app.command("retry")(tasks.retry)
app.command("cancel")(tasks.cancel)
app.add_typer(bulk.app, name="bulk")
app.command("stats")(stats.stats)
app.command("errors")(error_table.errors)
app.command("audit")(audit.audit)
app.command("me")(me.me)
app.command("types")(tasks.types)
app.command("health")(tasks.health)


def _print_version(asked: bool = True) -> None:
    if asked:
        typer.echo(f"raytasks {__version__}")
        raise typer.Exit


@app.command("version")
def _version() -> None:
    """Print the version."""
    _print_version()


@app.callback()
def _global_options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    pass


@database.command("upgrade")
def upgrade(
    database_url: Annotated[
        str | None, typer.Option(help="Default: RAYTASKS_DATABASE_URL.")
    ] = None,
) -> None:
    """Make the tables, or bring those of an earlier version up to date."""
    from raytasks.settings import load_settings

    up.prepare_database(load_settings(database_url=database_url).database_url)
    typer.echo("the database is up to date")


def main() -> None:
    """Run the command. An expected error gives one line on standard error, and an exit code."""
    try:
        app()
    except RaytasksError as error:
        stderr = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
        stderr.print(f"error: {tables.plain(error)}", markup=False)
        sys.exit(_exit_code(error))
    except KeyboardInterrupt:
        sys.exit(130)


def _exit_code(error: RaytasksError) -> int:
    match error:
        case WaitTimeout():
            return options.TIMED_OUT
        case ServiceUnavailable():
            return options.UNAVAILABLE
        case ApiError(status=status):
            return options.REFUSED if status < 500 else options.UNAVAILABLE
        case _:
            return options.USAGE
