"""`avatar serve`: avatars that answer live."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from avatar.cli.options import Device
from avatar.core.files import UserError

if TYPE_CHECKING:
    from avatar.serve.run import Service

PLACE = "left, middle, right or 0..1, then ,size= and ,crop=: the person stands in a larger picture."

app = typer.Typer()


@app.command()
def serve(
    names: Annotated[list[Path], typer.Argument(metavar="NAME.avatar...", help="Avatar files.")],
    host: Annotated[str, typer.Option(help="Address to bind to; others than loopback need tokens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port.")] = 8010,
    token_file: Annotated[Path | None, typer.Option(metavar="FILE", help="Tokens of clients, one a line.")] = None,
    cert: Annotated[Path | None, typer.Option(metavar="FILE.pem", help="Certificate chain, for https.")] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE.pem", help="Its key.")] = None,
    allow_host: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Names it is called by.")] = None,
    allow_origin: Annotated[list[str] | None, typer.Option(metavar="URL", help="Sites whose pages may use it.")] = None,
    size: Annotated[int | None, typer.Option(help="Px a side of the pictures.")] = None,
    background: Annotated[str | None, typer.Option(metavar="COLOUR|FILE", help="Behind the person.")] = None,
    background_end: Annotated[Literal["loop", "hold"], typer.Option(help="What comes after a film's end.")] = "loop",
    place: Annotated[str | None, typer.Option(metavar="WHERE", help=PLACE)] = None,
    frame: Annotated[str | None, typer.Option(metavar="WIDTHxHEIGHT", help="Px of the larger picture.")] = None,
    light: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="Light on the person; sessions may change it.")
    ] = "keep",
    grade: Annotated[str, typer.Option(metavar="match|none|FILE.cube", help="Whose white and exposure.")] = "none",
    label: Annotated[Literal["none", "text", "icon", "eu"], typer.Option(help="Visible label in all pictures.")] = "eu",
    sessions: Annotated[int | None, typer.Option(min=1, help="The most at once; else what the machine draws.")] = None,
    idle: Annotated[float, typer.Option(min=1, help="Seconds without a request after which a session ends.")] = 600.0,
    ice: Annotated[Path | None, typer.Option(metavar="FILE.json", help="STUN and TURN servers for WebRTC.")] = None,
    udp_ports: Annotated[str, typer.Option(metavar="FIRST-LAST", help="UDP ports of WebRTC; else any.")] = "",
    use: Annotated[str | None, typer.Option(metavar="TEXT", help="What it is for, as the consent lists it.")] = None,
    revoked: Annotated[Path | None, typer.Option(metavar="FILE", help="Ids of avatars that may not be used.")] = None,
    allow_download: Annotated[
        bool, typer.Option("--allow-download", help="Give clients what draws the avatars: they may draw themselves.")
    ] = False,
    recordings: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where clients may have sessions recorded.")
    ] = None,
    device: Device = "auto",
    check: Annotated[bool, typer.Option("--check", help="Try everything, say how many sessions fit, and end.")] = False,
) -> None:
    """Live avatars for browsers and voice agents: sound in, picture and sound out, by WebSocket and WebRTC."""
    try:
        from avatar.serve.app import Network
        from avatar.serve.ice import read_ice
        from avatar.serve.run import Service, Shown
    except ImportError as error:
        raise UserError(f"serve needs its extra ({error}); pip install 'avatar-builder[serve]'") from error

    network = Network(host, port, tuple(allow_host or ()), tuple(allow_origin or ()), token_file, cert, key)
    scene = {"place": place, "frame": frame, "light": light, "grade": grade}
    scene |= {"background_end": background_end}
    shown = Shown(size, background, scene, label, device, use, revoked, allow_download, recordings)
    found = read_ice(ice, udp_ports)
    service = Service(names, network, shown, ice=found, sessions=sessions, idle_seconds=idle)
    _check(service) if check else service.run()


def _check(service: Service) -> None:
    for line in service.check():
        print(line)
