"""Safetensors files with a true header and nothing behind it: sparse, so that an 8B checkpoint takes no disk."""

from __future__ import annotations

import json
import math


def write_hollow(folder, shapes, *, shards, number_bytes=2):
    """Write weights of the given shapes as sharded files of the right sizes, with an index."""
    names = list(shapes)
    size = -(-len(names) // shards)
    weight_map = {}
    for number in range(shards):
        header, offset = {}, 0
        for name in names[number * size : (number + 1) * size]:
            end = offset + number_bytes * math.prod(shapes[name])
            header[name] = {"dtype": "BF16", "shape": list(shapes[name]), "data_offsets": [offset, end]}
            offset = end
        packed = json.dumps(header).encode()
        packed += b" " * (-len(packed) % 8)
        file = folder / f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        with file.open("wb") as opened:
            opened.write(len(packed).to_bytes(8, "little") + packed)
            opened.truncate(8 + len(packed) + offset)
        weight_map |= dict.fromkeys(header, file.name)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
