"""`stormsail status`: is everything there, and what is serving."""

import click

from stormsail.cli.errors import ExitCode
from stormsail.cli.options import Place, account_option, output_option, place_options
from stormsail.cli.output import show_one, style, table


@click.command()
@place_options
@account_option
@output_option
def status(place: Place, output: str) -> int:
    """Show the engine, its workers, and what each application serves.

    The exit code is 0 when the engine answers and a worker polls, else 1.

    \b
    Example:
      stormsail status -o json
    """
    from stormsail.cli.status_run import read_status

    record = read_status(place)
    show_one(record, _described(record), "engine", output)
    return int(ExitCode.OK if record["worker_polling"] else ExitCode.ERROR)


def _described(record: dict[str, object]) -> str:
    workers = record["workers"]
    assert isinstance(workers, list)
    if record["worker_polling"]:
        polling = f"✔ {', '.join(map(str, workers))}"
    else:
        polling = f"✖ nobody polls task queue {record['task_queue']!r}: start one with `stormsail worker start`"
    rows = {
        "engine": f"✔ {record['engine']} (version {record['engine_version'] or 'unknown'})",
        "namespace": str(record["namespace"]),
        "worker": polling,
        "account": record["account"],
    }
    lines = [f"{style(key.ljust(9), bold=True)}  {value}" for key, value in rows.items()]
    applications = record["applications"]
    assert isinstance(applications, list)
    if applications:
        cells = [
            [
                item["application"],
                item["cluster"],
                ", ".join(item["serving"]) or "nothing serves",
                ", ".join(filter(None, item["versions"])) or "-",
                f"{item['instances_up']}/{item['instances_desired']}",
                item["address"] or "-",
            ]
            for item in applications
        ]
        lines += ["", table(["application", "cluster", "serving", "version", "up", "address"], cells)]
    elif record["worker_polling"]:
        lines += ["", "no applications yet: deploy one with `stormsail deploy`"]
    return "\n".join(lines)
