"""The page in the browser: `avatar studio`."""

from __future__ import annotations

import secrets
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from avatar.core.files import UserError

app = typer.Typer()


@app.command()
def studio(
    folder: Annotated[Path, typer.Argument(help="Where people, avatars and films are kept.")] = Path("avatars"),
    host: Annotated[
        str, typer.Option(help="Address to serve at; any but this machine's own needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: any that is free.")] = 8770,
    name: Annotated[
        list[str] | None, typer.Option(metavar="HOST", help="Name that browsers call the server by, beside --host.")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Tokens, one a line, that the page asks for. [default: a new one]"),
    ] = None,
    upload_limit: Annotated[float, typer.Option(metavar="GB", min=0.001, help="Largest file that is taken.")] = 4.0,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
) -> None:
    """A page in the browser that does the whole way: film, check, build, speak, download."""
    try:
        from avatar.serve.guard import digest_token, is_loopback, read_tokens
        from avatar.studio.server import Address, serve
        from avatar.studio.studio import Studio
    except ImportError as error:
        raise UserError(
            f"the studio needs the extra 'studio' ({error}): pip install 'avatar-builder[studio]'"
        ) from error

    secret, tokens = "", read_tokens(token_file) if token_file else ()
    if not tokens and not is_loopback(host):
        secret = secrets.token_urlsafe(24)
        tokens = (digest_token(secret),)
    folder.mkdir(parents=True, exist_ok=True)

    def started(url: str) -> None:
        page = f"{url}#token={secret}" if secret else url
        print(
            f"studio    {page}\nfolder    {folder.absolute()}\nCtrl-C ends it; what runs goes on with the next start",
            flush=True,
        )
        if open_page:
            webbrowser.open(page)

    serve(Studio(folder, most_bytes=round(upload_limit * 1e9)), Address(host, port, tuple(name or ()), tokens), started)
