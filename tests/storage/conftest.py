"""What the specifications say of a Zarr group, written down from their texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import zarr

REGISTERED = {
    "multiscales": "d35379db-88df-4056-af3a-620245f8e347",
    "proj": "f17cb550-5864-4468-aeb7-f3180cfb622f",
    "spatial": "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4",
}
"""Names and ids as printed in the README of each convention."""


def _require_ngff(group: zarr.Group) -> None:
    """What https://ngff.openmicroscopy.org/0.5/ says MUST hold of a multiscale image."""
    said = group.attrs["ome"]
    assert said["version"] == "0.5"
    for image in said["multiscales"]:
        names = [axis["name"] for axis in image["axes"]]
        kinds = [axis["type"] for axis in image["axes"]]
        assert len(names) == len(set(names)) in (2, 3, 4, 5)
        assert kinds.count("space") in (2, 3)
        assert kinds == sorted(kinds, key=["time", "channel", "space"].index)
        sizes = []
        for dataset in image["datasets"]:
            array = group[dataset["path"]]
            assert isinstance(array, zarr.Array)
            assert list(array.metadata.dimension_names) == names
            scale, *moved = dataset["coordinateTransformations"]
            assert scale["type"] == "scale"
            assert len(scale["scale"]) == len(names)
            assert [step["type"] for step in moved] in ([], ["translation"])
            assert all(len(step["translation"]) == len(names) for step in moved)
            sizes.append(array.shape[-2:])
        assert sizes == sorted(sizes, reverse=True)


def _require_conventions(attributes: dict[str, Any]) -> None:
    """What the conventions at v0.1 say MUST hold."""
    for entry in attributes["zarr_conventions"]:
        assert set(entry) == {"schema_url", "spec_url", "uuid", "name", "description"}
        assert entry["uuid"] == REGISTERED[entry["name"]]
        assert entry["schema_url"].endswith(f"zarr-conventions/{entry['name']}/refs/tags/v0.1/schema.json")
    assert attributes["spatial:dimensions"] == ["y", "x"]
    assert "proj:code" in attributes or "proj:wkt2" in attributes
    levels = attributes.get("multiscales", {}).get("layout")
    if levels is None:
        assert len(attributes["spatial:transform"]) == 6
    else:  # the single-source rule: at the levels, and only there
        assert not {"spatial:transform", "spatial:shape"} & set(attributes)
        assert all(len(level["spatial:transform"]) == 6 and len(level["spatial:shape"]) == 2 for level in levels)


@pytest.fixture
def require_ngff() -> Callable[[zarr.Group], None]:
    """See _require_ngff."""
    return _require_ngff


@pytest.fixture
def require_conventions() -> Callable[[dict[str, Any]], None]:
    """See _require_conventions."""
    return _require_conventions
