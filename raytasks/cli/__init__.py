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
    db,
    demo,
    down,
    env,
    error_table,
    events,
    init,
    joining,
    keys,
    limits,
    logs,
    look,
    me,
    namespaces,
    operate,
    options,
    outbox_command,
    output,
    pauses,
    pools,
    schedules,
    stats,
    submit_many,
    tables,
    up,
    update,
    watch,
)
from raytasks.cli import (
    task_commands as tasks,
)
from raytasks.client import ApiError, ServiceUnavailable, WaitTimeout
from raytasks.model.tasks import RaytasksError

RUN, TASKS, CONTROL, INSPECT, DATABASE = "Run", "Tasks", "Control", "Inspect", "Database"
"""The panels of `raytasks --help`."""

app = typer.Typer(
    name="raytasks",
    help="A durable task queue that is native to Ray.",
    epilog=options.EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(db.app, name="db", rich_help_panel=DATABASE)
api_keys = typer.Typer(help="The keys of the API.", no_args_is_help=True)
app.add_typer(api_keys, name="keys", rich_help_panel=RUN)
api_keys.command("new")(keys.new)
api_keys.command("callback")(keys.callback)

app.command("init", rich_help_panel=RUN)(init.init)
app.command("up", rich_help_panel=RUN)(up.up)
app.command("down", rich_help_panel=RUN)(down.down)
app.command("env", rich_help_panel=RUN)(env.env)
app.command("worker", rich_help_panel=RUN)(joining.worker)
app.command("leave", rich_help_panel=RUN)(joining.leave)
app.command("deploy", rich_help_panel=RUN)(operate.deploy)
app.command("stop", rich_help_panel=RUN)(operate.stop)
app.command("demo", rich_help_panel=RUN)(demo.demo)
app.command("submit", rich_help_panel=TASKS)(tasks.submit)
app.command("submit-many", rich_help_panel=TASKS)(submit_many.submit_many)
app.command("get", rich_help_panel=TASKS)(tasks.get)
app.command("list", rich_help_panel=TASKS)(tasks.list_tasks)
app.command("events", rich_help_panel=TASKS)(events.events)
app.command("watch", rich_help_panel=TASKS)(watch.watch)
app.command("artifacts", rich_help_panel=TASKS)(artifacts.artifacts)
app.command("types", rich_help_panel=TASKS)(tasks.types)
app.command("update", rich_help_panel=CONTROL)(update.update)
app.command("retry", rich_help_panel=CONTROL)(update.retry)
app.command("cancel", rich_help_panel=CONTROL)(tasks.cancel)
app.command("delete", rich_help_panel=CONTROL)(update.delete)
app.command("drain", rich_help_panel=CONTROL)(operate.drain)
app.command("pause", rich_help_panel=CONTROL)(pauses.pause)
app.command("resume", rich_help_panel=CONTROL)(pauses.resume)
app.add_typer(limits.app, name="limits", rich_help_panel=CONTROL)
app.add_typer(schedules.app, name="schedules", rich_help_panel=CONTROL)
app.add_typer(pools.app, name="pools", rich_help_panel=CONTROL)
app.add_typer(bulk.app, name="bulk", rich_help_panel=CONTROL)
app.command("health", rich_help_panel=INSPECT)(tasks.health)
app.command("logs", rich_help_panel=INSPECT)(logs.logs)
app.command("stack", rich_help_panel=INSPECT)(tasks.stack)
app.command("stats", rich_help_panel=INSPECT)(stats.stats)
app.command("errors", rich_help_panel=INSPECT)(error_table.errors)
app.command("audit", rich_help_panel=INSPECT)(audit.audit)
app.command("me", rich_help_panel=INSPECT)(me.me)
app.add_typer(namespaces.app, name="namespaces", rich_help_panel=CONTROL)
app.command("runners", rich_help_panel=INSPECT)(look.runners)
app.command("nodes", rich_help_panel=INSPECT)(look.nodes)
app.command("versions", rich_help_panel=INSPECT)(look.versions)
app.command("outbox", rich_help_panel=INSPECT)(outbox_command.outbox)


def _print_version(asked: bool = True) -> None:
    if asked:
        typer.echo(f"raytasks {__version__}")
        raise typer.Exit


@app.command("version", rich_help_panel=INSPECT)
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


def main() -> None:
    """Run the command. An expected error gives one line on standard error, and an exit code."""
    output.guard_streams()
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # what is kept back may not be written either
    except (RaytasksError, output.OutputLost) as error:
        stderr = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
        stderr.print(f"error: {tables.plain(error)}", markup=False)
        sys.exit(_exit_code(error))
    except KeyboardInterrupt:
        sys.exit(130)


def _exit_code(error: RaytasksError | output.OutputLost) -> int:
    match error:
        case output.OutputLost():
            return options.OUTPUT_LOST
        case WaitTimeout():
            return options.TIMED_OUT
        case ServiceUnavailable():
            return options.UNAVAILABLE
        case ApiError(status=status):
            return options.REFUSED if status < 500 else options.UNAVAILABLE
        case _:
            return options.USAGE
