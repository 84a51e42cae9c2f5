"""The command line: verbs by group, each of which works without Snakemake.

What a verb needs is imported when it is called, so that `--help` waits for no library.
"""

import typer

from reprise import cli_bench, cli_convert, cli_plan, cli_results, cli_steps, cli_workspace

app = typer.Typer(
    help="Vision papers rebuilt by one command, beside the numbers they printed. "
    "`snakemake --cores all` calls these verbs in the right order.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for group in (cli_plan, cli_workspace, cli_steps, cli_results, cli_bench, cli_convert):
    group.register(app)
