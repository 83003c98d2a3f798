"""A server for tests: the real one, with small limits and, unless told otherwise, workers over tiny stages.

`python serve_program.py DATA PORT '{"pause_s": 0.02, "real": false, "workers": 1, "limits": {}, "quota": {}}'`
"""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import replace
from pathlib import Path

from lyra.worldgen.service.limits import Limits, Quota, ServiceConfig
from lyra.worldgen.service.server import Listening, open_database, serve

FAKE = Path(__file__).resolve().parent.parent / "session" / "fake_program.py"


def main() -> None:
    options = json.loads(sys.argv[3])
    launcher = () if options.get("real") else (sys.executable, str(FAKE), str(options.get("pause_s", 0.0)))
    config = ServiceConfig(
        data=Path(sys.argv[1]),
        limits=replace(Limits(), **options.get("limits", {})),
        quota=replace(Quota(), **options.get("quota", {})),
        devices=("",) * options.get("workers", 1),
        launcher=launcher,
    )
    logging.basicConfig(level=logging.WARNING)
    database, token = open_database(config)

    def ready(address: str) -> None:
        sys.stdout.write(json.dumps({"address": address, "token": token}) + "\n")
        sys.stdout.flush()

    serve(config, database, Listening(port=int(sys.argv[2])), ready)


if __name__ == "__main__":
    main()
