"""Converts the released files of Lyra 2.0 into a folder for models.painter.

    python tools/convert_lyra2.py RELEASE --tokenizer UMT5_XXL --out FOLDER      a copy of the model repository
    python tools/convert_lyra2.py --vae vae.pth --out FOLDER                     single parts; more can be added later

The weights stay under NVIDIA's licence: research only, not commercial.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PARTS = {
    "transformer": "the network: folder of a distributed checkpoint, .pth or .safetensors",
    "vae": "video VAE, vae.pth",
    "text_encoder": "UMT5-XXL encoder, encoder.pth",
    "image_encoder": "CLIP image encoder, model.pth",
    "negative_prompt": "embedding of the negative text, negative_prompt.pt",
    "tokenizer": "folder of google/umt5-xxl with tokenizer_config.json and tokenizer.json",
}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0], epilog="Exit code 0 good, 2 input, 3 a package is missing."
    )
    made.add_argument("release", nargs="?", type=Path, help="copy of the released repository, or its checkpoints")
    made.add_argument("--out", type=Path, required=True, help="folder to write, or a converted one to add parts to")
    for name, text in PARTS.items():
        made.add_argument(f"--{name.replace('_', '-')}", type=Path, metavar="PATH", help=text)
    made.add_argument("--lora", type=Path, action="append", default=[], metavar="FILE", help="an adapter; repeatable")
    made.add_argument("--layout", help="context layout of the network, where it is not the released one")
    made.add_argument("--heads", type=int, help="attention heads of the network, where they are not 128 wide")
    made.add_argument("--shard-gib", type=float, default=4.0, help="most that one file of weights holds")
    made.add_argument("--json", action="store_true", help="print lyra2.json instead of a table")
    return made


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    sys.path.insert(0, str(ROOT / "exts" / "lyra.worldgen"))
    from lyra.worldgen.cli.terminal import Console, table
    from lyra.worldgen.core.errors import ConfigError, WorldgenError
    from lyra.worldgen.generation.lyra2.convert import ReleaseFiles, convert, find_release

    console = Console(json_output=options.json)
    try:
        with console.logging():
            if not options.shard_gib > 0:
                raise ConfigError(f"--shard-gib is {options.shard_gib}; expected a size above 0")
            release = ReleaseFiles() if options.release is None else find_release(options.release)
            given = {name: path for name in PARTS if (path := getattr(options, name)) is not None}
            release = replace(release, **given, lora=(*release.lora, *options.lora))
            done = convert(
                release,
                options.out,
                layout=options.layout,
                heads=options.heads,
                shard_bytes=int(options.shard_gib * 2**30),
                progress=console.progress,
            )
    except WorldgenError as error:
        console.error(str(error), error.exit_code)
        return error.exit_code
    except KeyboardInterrupt:
        console.error("cancelled; nothing was written", 130)
        return 130
    console.result(f"{table(done.rows())}\n{done.folder}: {done.index['licence']}", done.index)
    return 0


if __name__ == "__main__":
    sys.exit(main())
