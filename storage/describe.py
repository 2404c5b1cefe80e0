"""The zarr.json files of a run: zarr itself writes what the shards of storage/shard.py are read by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from storage.conventions import array_attributes, root_attributes
from storage.layout import ArrayLayout, arrays
from storage.plan import RunPlan, to_json
from storage.shard import CODEC, LEVEL


def descriptions(
    layouts: Iterable[ArrayLayout], attributes: dict[str, Any], of_arrays: Mapping[str, dict[str, Any]] | None = None
) -> dict[str, bytes]:
    """Every zarr.json of a group of arrays by name, as zarr writes them. of_arrays: attributes by array."""
    import zarr
    from zarr.codecs import BloscCodec
    from zarr.storage import MemoryStore

    files: dict[str, Any] = {}
    root = zarr.open_group(MemoryStore(files), mode="w", attributes=attributes, zarr_format=3)
    for layout in layouts:
        root.create_array(
            layout.name,
            shape=layout.shape,
            dtype=layout.dtype,
            chunks=layout.chunks,
            shards=layout.shards,
            compressors=BloscCodec(cname=CODEC, clevel=LEVEL, shuffle=layout.shuffle),
            fill_value=0,
            dimension_names=layout.dimensions,
            attributes=(of_arrays or {}).get(layout.name),
        )
    return {name: content.to_bytes() for name, content in files.items()}


def described(plan: RunPlan) -> dict[str, bytes]:
    """Every zarr.json of a run: the root holds the plan, and all say where they lie in words that others read."""
    layouts = arrays(plan)
    own = {"plan": to_json(plan), "fingerprint": plan.fingerprint}
    of_arrays = {name: array_attributes(plan, layout) for name, layout in layouts.items()}
    return descriptions(layouts.values(), {"tilegate": own, **root_attributes(plan)}, of_arrays)
