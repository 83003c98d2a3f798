"""`lyra-worldgen serve`: worlds for users with tokens, over HTTP."""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ..core.errors import ConfigError
from ..core.schema import field_docs
from ..service.database import Database
from ..service.limits import Limits, Quota, ServiceConfig
from ..service.server import Listening, check_listening, find_devices, open_database, serve
from ..service.uploads import NAME
from .flags import add_output_flags
from .terminal import Console, table

DESCRIPTION = """\
Make worlds for users over HTTP: they upload a photo, have a world made of it, follow its progress and download it. The
server listens on this machine only, needs a token for every request, and keeps uploads, worlds and jobs in one folder;
killed at any moment, it goes on where it was when it is started again.
"""
EPILOG = """\
examples:
  lyra-worldgen serve                                        on http://127.0.0.1:8765, data in ./service
  lyra-worldgen serve --data /srv/worlds --config gpu.yaml   with the weights and sizes that a file says
  lyra-worldgen serve --data /srv/worlds --new-user anna --quota worlds=10,job_s=3600
  lyra-worldgen serve --data /srv/worlds --new-token anna    the old token of anna is worth nothing any more
  lyra-worldgen serve --data /srv/worlds --list-users
  lyra-worldgen serve --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem

The first start makes the user 'owner' and prints the token, once; only its hash is kept. Then:
  curl -H "Authorization: Bearer $TOKEN" --data-binary @kitchen.jpg 'http://127.0.0.1:8765/v1/uploads?name=kitchen.jpg'
  curl -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d '{"photo": "UPLOAD_ID"}' \\
       http://127.0.0.1:8765/v1/worlds
  curl -N -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8765/v1/jobs/JOB_ID/events
  curl -H "Authorization: Bearer $TOKEN" -o world.zip http://127.0.0.1:8765/v1/worlds/WORLD_ID/archive

All routes: http://127.0.0.1:8765/v1/openapi.json and docs/service.md
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "serve",
        help="make worlds for users over HTTP",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--data", metavar="DIR", default="service", help="folder of the service (default: service)")
    parser.add_argument(
        "--host", metavar="ADDRESS", default=Listening.host, help="address to listen on (default: %(default)s)"
    )
    parser.add_argument(
        "--port", metavar="N", type=int, default=Listening.port, help="port, 0 for any (default: %(default)s)"
    )
    parser.add_argument("--tls-cert", metavar="FILE", type=Path, help="certificate chain (PEM)")
    parser.add_argument("--tls-key", metavar="FILE", type=Path, help="its key (PEM)")
    parser.add_argument("--behind-proxy", action="store_true", help="a proxy in front ends TLS")
    parser.add_argument("--config", metavar="FILE", type=Path, help="settings of worlds where users say nothing (YAML)")
    parser.add_argument("--workers", metavar="N", type=int, help="jobs at a time (default: one for each GPU, or one)")
    parser.add_argument(
        "--limit", metavar="NAME=VALUE", action="append", default=[], help=f"what is accepted: {_names(Limits)}"
    )
    parser.add_argument(
        "--quota",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help=f"what a user may have, of all users or of the one that is made: {_names(Quota)}",
    )
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--new-user", metavar="NAME", help="make a user, print the token, and end")
    who.add_argument("--new-token", metavar="NAME", help="give a user another token, print it, and end")
    who.add_argument("--list-users", action="store_true", help="list the users, and end")
    add_output_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Serve, or look after users."""
    quota = _values(args.quota, Quota, "--quota")
    config = ServiceConfig(
        data=Path(args.data),
        limits=replace(Limits(), **_values(args.limit, Limits, "--limit")),
        quota=Quota() if args.new_user else replace(Quota(), **quota),
        config_file=args.config,
        devices=find_devices(args.workers),
    )
    listening = Listening(
        host=args.host,
        port=args.port,
        tls_certificate=args.tls_cert,
        tls_key=args.tls_key,
        behind_proxy=args.behind_proxy,
    )
    check_listening(listening)
    if args.config is not None:
        from ..core.config import load_config

        load_config(args.config)
    database, token = open_database(config)
    try:
        if args.new_user or args.new_token or args.list_users:
            return _users(args, console, database, quota, token)
        if token is not None:
            console.note(f"token of 'owner', shown once and kept nowhere: {token}")
        serve(config, database, listening, lambda address: _ready(console, address, config))
    finally:
        database.close()
    return 0


def _ready(console: Console, address: str, config: ServiceConfig) -> None:
    devices = ", ".join(device or "CPU" for device in config.devices)
    values = {"address": address, "data": str(config.data.resolve()), "workers": len(config.devices)}
    console.result(f"serving on {address}, data in {config.data}, workers: {devices}", values)


def _users(
    args: argparse.Namespace, console: Console, database: Database, quota: dict[str, float], owner: str | None
) -> int:
    if owner is not None:
        console.note(f"token of 'owner', shown once and kept nowhere: {owner}")
    if args.list_users:
        users = database.users()
        rows = [("user", "admin", "quota"), *((u["name"], "yes" if u["admin"] else "no", u["quota"]) for u in users)]
        console.result(table(rows), {"users": [{"name": u["name"], "admin": bool(u["admin"])} for u in users]})
        return 0
    import re

    name = args.new_user or args.new_token
    if not re.fullmatch(NAME, name):
        raise ConfigError(f"the user's name is '{name[:40]}'; expected letters, digits, spaces and . _ - ( ) +")
    token = database.add_user(name, quota=quota) if args.new_user else database.renew_token(name)
    console.result(f"token of '{name}', shown once and kept nowhere: {token}", {"user": name, "token": token})
    return 0


def _names(kind: type) -> str:
    return ", ".join(entry.name for entry in fields(kind))


def _values(texts: list[str], kind: type, flag: str) -> dict[str, Any]:
    """Numbers by name of `NAME=VALUE,...`; raises `ConfigError`."""
    types = {entry.name: int if entry.type == "int" else float for entry in fields(kind)}
    docs = field_docs(kind)
    found: dict[str, Any] = {}
    for part in filter(None, (part.strip() for text in texts for part in text.split(","))):
        name, _, value = part.partition("=")
        if name not in types:
            raise ConfigError(f"{flag} has no '{name[:40]}'; expected one of: {', '.join(types)}")
        try:
            number = types[name](value)
        except ValueError as error:
            raise ConfigError(f"{flag} {name} is '{value[:40]}'; expected {docs.get(name, 'a number')}") from error
        if not 0 < number < 1e15:
            raise ConfigError(f"{flag} {name} is {value[:40]}; expected more than 0: {docs.get(name, '')}")
        found[name] = number
    return found
