"""The verbs of `reprise convert`: released weights that timm cannot load by itself."""

import pickle
from pathlib import Path
from typing import Annotated

import typer

from reprise.errors import ConfigError


def litv2(
    file: Annotated[Path, typer.Argument(help="the authors' file of weights")],
    out: Annotated[Path | None, typer.Option(help="default: beside it, .safetensors")] = None,
) -> None:
    """Bring a released file of LITv2 to names that timm loads, without running code from it."""
    from reprise.models.convert import convert as convert_file

    try:
        done = convert_file(file)
    except ConfigError as error:
        # torch's reader advises to read the file with `weights_only=False`, which may run its code.
        if not isinstance(error.__context__, pickle.UnpicklingError):
            raise
        raise ConfigError(str(error).replace(f" ({error.__context__})", "")) from None
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
