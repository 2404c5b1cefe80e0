"""The zarr.json files of a run: zarr itself writes what the shards of storage/shard.py are read by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from storage.layout import ArrayLayout, geo_attributes, ome_attributes
from storage.plan import RunPlan, to_json
from storage.shard import CODEC, LEVEL


def descriptions(layouts: Iterable[ArrayLayout], attributes: dict[str, Any]) -> dict[str, bytes]:
    """Every zarr.json of a group of arrays by name, as zarr writes them."""
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
        )
    return {name: content.to_bytes() for name, content in files.items()}


def attributes(plan: RunPlan) -> dict[str, Any]:
    """What the root says: the plan, and where its planes lie in the words of OME-NGFF and GeoZarr."""
    own = {"plan": to_json(plan), "fingerprint": plan.fingerprint}
    return {"tilegate": own, "ome": ome_attributes(plan), **geo_attributes(plan)}
