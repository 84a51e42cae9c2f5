"""The verbs of `reprise convert`: released weights that timm cannot load by itself."""

from pathlib import Path
from typing import Annotated

import typer


def litv2(
    file: Annotated[Path, typer.Argument(help="the authors' file of weights")],
    out: Annotated[Path | None, typer.Option(help="default: beside it, .safetensors")] = None,
) -> None:
    """Bring a released file of LITv2 to names that timm loads, without running code from it."""
    from reprise.models.convert import convert as convert_file

    done = convert_file(file)
    target = out or file.with_suffix(".safetensors")
    done.write(target)
    typer.echo(f"{target}: {done.name}, arguments {done.args}")


def register(app: typer.Typer) -> None:
    """Add the group of verbs to the command line."""
    convert = typer.Typer(
        help="Released weights that timm cannot load by itself.", no_args_is_help=True
    )
    convert.command()(litv2)
    app.add_typer(convert, name="convert")
