"""The command line's front door: which commands there are, and how any failure becomes one text and one exit code."""

import contextlib
import os
import sys
from typing import Final

import click

from stormsail.cli.errors import ExitCode
from stormsail.cli.lazy import Lazy, LazyGroup
from stormsail.cli.options import place_options

COMMANDS: Final = {
    "up": Lazy("stormsail.cli.up:up", "Start engine, worker and load balancer here, and keep them up."),
    "demo": Lazy("stormsail.cli.demo.command:demo", "Watch a deployment survive kill -9 under live traffic."),
    "deploy": Lazy("stormsail.cli.deploy:deploy", "Deploy a new version of an application."),
    "rollback": Lazy("stormsail.cli.rollback:rollback", "Put a previous version back into service."),
    "server-group": Lazy(
        "stormsail.cli.server_groups:server_group",
        "List, resize, enable, disable or destroy versions.",
        ("server-groups", "sg"),
    ),
    "operation": Lazy(
        "stormsail.cli.operations:operation",
        "List, look at, watch or cancel operations.",
        ("operations", "op", "ops"),
    ),
    "workflow": Lazy(
        "stormsail.cli.temporal.workflow:workflow",
        "Start, find, look at and steer workflows.",
        ("workflows", "wf"),
    ),
    "activity": Lazy("stormsail.cli.temporal.activity:activity", "Steer activities of workflows.", ("activities",)),
    "schedule": Lazy("stormsail.cli.temporal.schedule:schedule", "Start workflows at given times.", ("schedules",)),
    "task-queue": Lazy(
        "stormsail.cli.temporal.task_queue:task_queue",
        "Show who polls a task queue and what waits in it.",
        ("task-queues", "tq"),
    ),
    "batch": Lazy("stormsail.cli.temporal.batch:batch", "Look at batches and stop them.", ("batches",)),
    "namespace": Lazy("stormsail.cli.temporal.namespace:namespace", "Manage namespaces.", ("namespaces",)),
    "search-attribute": Lazy(
        "stormsail.cli.temporal.namespace:search_attribute",
        "Manage the fields that list filters know.",
        ("search-attributes", "sa"),
    ),
    "status": Lazy("stormsail.cli.status:status", "Show engine, worker and what is serving.", ("st",)),
    "doctor": Lazy("stormsail.cli.doctor:doctor", "Check this machine and say what to do next."),
    "server": Lazy("stormsail.cli.server:server", "Run the engine alone.", ("servers", "engine")),
    "worker": Lazy("stormsail.cli.worker:worker", "Run a worker alone.", ("workers",)),
    "web": Lazy("stormsail.cli.web:web", "Run the page and the REST API alone."),
    "audit": Lazy("stormsail.cli.audit:audit", "See who changed what through the page and the API, and why."),
    "auth": Lazy("stormsail.cli.auth:auth", "Make, list and revoke the keys that people sign in with."),
    "sim": Lazy("stormsail.cli.sim:sim", "Look for broken promises on a simulated machine and disk."),
    "campaign": Lazy(
        "stormsail.cli.campaign.command:campaign", "Run operations on a faulty cloud, durably and by polling."
    ),
    "version": Lazy("stormsail.cli.version:version", "Show the versions of Stormsail and what it stands on."),
    "completion": Lazy("stormsail.cli.completion:completion", "Print the completion script of a shell."),
}


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    invoke_without_command=False,
)
@click.version_option(package_name="stormsail", message="stormsail %(version)s")
@place_options
def cli() -> None:
    """Cloud operations that finish.

    Start everything on this machine, then deploy from a second terminal:

    \b
      stormsail up
      stormsail deploy hello --command "python examples/hello.py --port {port} --version v1"

    Ctrl-C while a command waits only detaches: the operation goes on.
    """


def main() -> None:
    """Run the command line and exit with the code that `ExitCode` promises."""
    code = run(sys.argv[1:])
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    # Not sys.exit: threads of the SDK's core may call into an interpreter that is being torn down, which aborts.
    os._exit(code)


def run(arguments: list[str], commands: click.Command = cli) -> int:
    """Run one command line; every failure is printed as one text, never as a stack trace."""
    try:
        code = commands.main(arguments, prog_name="stormsail", standalone_mode=False)
        sys.stdout.flush()  # Here, where a reader that has gone is understood.
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return int(ExitCode.OK)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return int(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # The reader of our stdout (head, a pager) has gone; Python must not complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.ERROR)
    except OSError as error:
        # A full disk, a directory that went away: the system's own words and the file say it best.
        click.echo(f"error: {error.strerror or error}{f': {error.filename}' if error.filename else ''}", err=True)
        click.echo("next:  `stormsail doctor` checks disk and directories", err=True)
        return int(ExitCode.ERROR)
    except Exception as error:
        if os.environ.get("STORMSAIL_DEBUG"):
            raise
        click.echo(f"error: unexpected {type(error).__name__}: {error}", err=True)
        click.echo("next:  this is a bug in stormsail. STORMSAIL_DEBUG=1 shows where; please report it.", err=True)
        return int(ExitCode.ERROR)
    return code if isinstance(code, int) else int(ExitCode.OK)
