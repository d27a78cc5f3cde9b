"""Many jobs at once: `avatar batch`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
import typer.core

from avatar.cli.batch_table import format_records, format_snapshot, live_table
from avatar.core.files import UserError
from avatar.core.outputs import check_output

if TYPE_CHECKING:
    from avatar.batch.engine import Engine
    from avatar.batch.journal import Journal
    from avatar.batch.plan import Plan


class RunByDefault(typer.core.TyperGroup):
    """`avatar batch FILE` is `avatar batch run FILE`."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Put the default command before a file or an option."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["run", *args]
        return super().parse_args(ctx, args)


MAX_PROBLEMS = 100  # shown

app = typer.Typer(
    cls=RunByDefault,
    help="Run the jobs of a file, on this machine or a cluster: `avatar batch jobs.yaml`.",
    no_args_is_help=True,
)
JobFile = Annotated[Path, typer.Argument(metavar="JOBS.yaml", help="A job file: YAML, or .jsonl with a job a line.")]
State = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder of journal, logs and report. [default: JOBS.batch]"),
]


@app.command("run")
def batch_run(
    file: JobFile,
    engine: Annotated[Literal["local", "ray"], typer.Option(help="This machine, or a Ray cluster.")] = "local",
    address: Annotated[str, typer.Option(metavar="auto|HOST", help="Address of the Ray cluster.")] = "auto",
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Workers. [default: one a core] With Ray: jobs under way.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Make everything anew.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try again what failed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, what it takes, and stop.")] = False,
    state: State = None,
) -> None:
    """Run the jobs of a file, or go on with them; what is done and unchanged is skipped."""
    from avatar.batch.run import RunOptions, run_batch

    plan, folder = _plan(file), _folder(file, state)
    if dry_run:
        return _print_plan(plan, folder, jobs)
    runner = _engine(engine, folder, address, jobs)
    with live_table() as show:
        try:
            end = run_batch(plan, runner, folder, options=RunOptions(force, retry_failed), show=show)
        finally:
            from avatar.batch.report import write_report  # loads torch, which would delay the first job

            page = write_report(folder)
    print("\n".join(format_snapshot(end)))
    if page:
        print(f"report    {page}")
    if end.bad:
        raise typer.Exit(1)


def _plan(file: Path) -> Plan:
    """The plan of a job file that has nothing wrong; else all that is wrong, a line each."""
    from avatar.batch.plan import make_plan

    plan, problems = make_plan(file)
    for problem in problems[:MAX_PROBLEMS]:
        typer.echo(f"error: {file}:{problem.line}: {problem.text}", err=True)
    if len(problems) > MAX_PROBLEMS:
        typer.echo(f"error: and {len(problems) - MAX_PROBLEMS} more", err=True)
    if problems:
        raise typer.Exit(1)
    return plan


def _engine(name: str, folder: Path, address: str, workers: int | None) -> Engine:
    if name == "ray":
        from avatar.batch.cluster import RayEngine

        return RayEngine(address, most=workers)
    from avatar.batch.local import LocalEngine
    from avatar.batch.machine import this_machine

    return LocalEngine(this_machine(), folder, workers=workers)


def _print_plan(plan: Plan, folder: Path, workers: int | None) -> None:
    from avatar.batch.estimate import estimate
    from avatar.batch.machine import this_machine

    for line in estimate(plan, folder, workers or len(this_machine().cores)):
        print(line)


@app.command("check")
def batch_check(file: JobFile) -> None:
    """Find everything that is wrong with a job file; starts nothing."""
    plan = _plan(file)
    print(f"{file}: {len(plan.jobs)} jobs, nothing wrong")


@app.command("schema")
def batch_schema() -> None:
    """Print the schema of job files, as JSON Schema; editors complete and check with it."""
    import json

    from avatar.batch.jobs import schema

    print(json.dumps(schema(), indent=2))


@app.command("status")
def batch_status(
    file: JobFile,
    state: State = None,
    json: Annotated[bool, typer.Option("--json", help="Every job, as JSON lines.")] = False,
) -> None:
    """What is done, running, failed; also while another process runs the batch. Exit code 1 if any failed."""
    import json as writer
    from dataclasses import asdict

    from avatar.batch.journal import BAD

    folder, records = _folder(file, state), []
    for record in _journal(file, state).read():
        records.append(record)
        if json:
            print(writer.dumps(asdict(record) | {"made": record.outputs}))
    if not json:
        print("\n".join(format_records(records, folder)))
    if any(record.state in BAD for record in records):
        raise typer.Exit(1)


@app.command("cancel")
def batch_cancel(
    file: JobFile,
    names: Annotated[list[str] | None, typer.Argument(metavar="[JOB|ENTRY]...", help="[default: all]")] = None,
    state: State = None,
) -> None:
    """Leave jobs out of a batch that is running; those of them that run are stopped."""
    from avatar.batch.journal import is_running

    folder, journal = _folder(file, state), _journal(file, state)
    if not is_running(folder):
        raise UserError(f"{file}: is not running; there is nothing to cancel")
    for name in names or []:
        if not journal.known(name):
            raise UserError(f"{file}: has no job or entry '{name}'; see `avatar batch status {file} --json`")
    journal.request_cancel(names or ["*"])
    print(f"requested to cancel {', '.join(names or ['everything'])}")


@app.command("report")
def batch_report(
    file: JobFile,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="[default: batch.html beside the journal]")] = None,
    state: State = None,
) -> None:
    """Write the report of a batch, as far as it has run."""
    from avatar.batch.report import write_report

    folder = _folder(file, state)
    if out:
        check_output(out, [file, folder / "journal.sqlite"], endings=(".html",))
    _journal(file, state)
    print(f"report    {write_report(folder, out)}")


def _folder(file: Path, state: Path | None) -> Path:
    from avatar.batch.journal import state_folder

    return state or state_folder(file)


def _journal(file: Path, state: Path | None) -> Journal:
    from avatar.batch.journal import Journal

    return Journal(_folder(file, state), make=False)
