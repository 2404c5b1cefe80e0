"""STAC items as others read them: stac-model of MLM's own authors, pystac's extensions, and the schemas where they are."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pystac
import pytest
from jsonschema import Draft7Validator
from pystac.extensions.classification import ClassificationExtension
from pystac.extensions.file import FileExtension
from pystac.extensions.mlm import AssetGeneralMLMExtension, MLMExtension
from pystac.extensions.projection import ProjectionExtension
from referencing import Registry
from referencing.jsonschema import DRAFT7
from stac_model.schema import MLModelProperties

from flows.engine import LocalEngine
from flows.export.command import export_run
from flows.pipeline import execute
from flows.planning import make_plan
from flows.progress import Silent
from flows.recipe import load_recipe
from tiling.source import SourceSpec

SCHEMAS = os.environ.get("TILEGATE_STAC_SCHEMAS", "")
HOME = "https://stac-extensions.github.io"
ONLY_OF_ITEMS = {"mlm:name", "mlm:input", "mlm:output", "mlm:hyperparameters"}
"""MLM 1.4.0, its CHANGELOG: "Explicitly disallow … at the Asset level"."""


@pytest.fixture
def item_of(
    make_scene: Any, measure: Any, make_rgb: Any, land: Any, tiny_slide: Callable[..., Path], tmp_path: Path
) -> Callable[[str], dict[str, Any]]:
    """What was run -> the item that tells of it, beside a GeoTIFF of the mask."""

    def run(path: Path, name: str, *changes: str) -> None:
        plan = make_plan(SourceSpec(uris=(str(path),)), load_recipe(name, changes))
        execute(plan, tmp_path / "run", LocalEngine(1), Silent())

    def make(what: str) -> dict[str, Any]:
        if what == "network":
            run(make_rgb(land((256, 256), 3)), "forest", "tile.size_px=128", "gate.threshold=0.5", "gate.outside=warn")
        elif what == "rule":
            measure(make_scene(), "gate.threshold=0")
        else:
            rgb = np.full((256, 256, 3), 245, np.uint8)
            rgb[60:120, 60:200] = (200, 80, 160)
            run(tiny_slide(rgb), "tissue", "tile.size_px=64", "tile.batch=2")
        export_run(str(tmp_path / "run"), "cog", out=str(tmp_path / "item.tif"))
        item = export_run(str(tmp_path / "run"), "stac", out=str(tmp_path / "item.stac.json")).path
        return dict(json.loads(item.read_text()))

    return make


def test_the_network_of_an_item_is_one_that_mlm_can_describe(item_of: Any) -> None:
    item = item_of("network")
    said = item["properties"]
    network = MLModelProperties.model_validate(said)
    assert (network.name, network.framework, network.architecture) == ("forest-unet", "PyTorch", "Unet")
    assert network.tasks == {"semantic-segmentation"}
    assert network.pretrained is True
    assert network.pretrained_source == said["mlm:pretrained_source"]
    ((given,), (made,)) = network.input, network.output
    assert given.bands == ["red", "green", "blue"]
    assert (given.input.shape, given.input.dim_order[1]) == ([-1, 3, 256, 256], "channel")
    assert [scaling.type for scaling in given.value_scaling] == ["z-score"] * 3
    assert [scaling.stddev for scaling in given.value_scaling] == [27.9969, 13.8295, 10.8166]
    assert [(each.value, each.name) for each in made.classes] == [(0, "background"), (1, "forest")]
    assert made.result.shape == [-1, 1, 256, 256]


def test_mlm_allows_of_an_asset_what_is_said_of_it(item_of: Any) -> None:
    item = pystac.Item.from_dict(item_of("network"))
    assert MLMExtension.ext(item).mlm_name == "forest-unet"
    assert MLMExtension.ext(item).hyperparameters.to_dict()["encoder_depth"] == 4
    models = {key: asset for key, asset in item.assets.items() if "mlm:model" in asset.roles}
    assert set(models) == {"segmenter-model", "gate-model"}
    for asset in item.assets.values():
        assert not ONLY_OF_ITEMS & set(asset.extra_fields)
        assert ("mlm:artifact_type" in asset.extra_fields) == ("mlm:model" in asset.roles)
    gate = AssetGeneralMLMExtension.ext(models["gate-model"])
    assert gate.artifact_type == "safetensors.torch.save_file"
    assert models["gate-model"].extra_fields["mlm:tasks"] == ["scene-classification"]
    whole = {f"mlm:{key}": value for key, value in models["gate-model"].extra_fields["tilegate:model"].items()}
    assert MLModelProperties.model_validate({**models["gate-model"].extra_fields, **whole}).name == "forest-gate"


@pytest.mark.parametrize("what", ["network", "rule", "slide"])
def test_pystac_reads_what_an_item_says_and_knows_every_extension(item_of: Any, what: str, tmp_path: Path) -> None:
    plain = item_of(what)
    item = pystac.Item.from_dict(plain, preserve_dict=True)
    known = {FileExtension, ClassificationExtension} | ({MLMExtension} if what == "network" else set())
    known |= {ProjectionExtension} if what != "slide" else set()
    assert {each.get_schema_uri() for each in known} == set(item.stac_extensions) - {
        f"{HOME}/processing/v1.2.0/schema.json"
    }
    names = [each.name for each in ClassificationExtension.ext(item).classes]
    assert names == ["background", {"network": "forest", "rule": "water", "slide": "tissue"}[what]]
    written = (tmp_path / item.assets["tif"].href).read_bytes()
    file = FileExtension.ext(item.assets["tif"])
    assert (file.size, file.checksum) == (len(written), "1220" + hashlib.sha256(written).hexdigest())
    assert item.properties["processing:expression"]["format"] == "tilegate-recipe"
    assert item.properties["processing:software"]["pyproj"] == pyproj.__version__
    if what != "slide":
        projection = ProjectionExtension.ext(item)
        assert len(projection.shape) == 2
        assert len(projection.transform) == 6
        assert projection.wkt2.startswith(("PROJCRS[", "GEOGCRS["))


def violations(item: dict[str, Any], folder: Path) -> list[str]:
    """What the schemas of its extensions say against an item. folder: holds them as *.json, found by their $id."""
    texts = [json.loads(path.read_text()) for path in sorted(folder.rglob("*.json"))]
    schemas = {text["$id"].removesuffix("#"): text for text in texts}
    missing = set(item["stac_extensions"]) - set(schemas)
    assert not missing, f"{folder} holds no schema of {', '.join(sorted(missing))}"
    registry = Registry().with_resources((name, DRAFT7.create_resource(text)) for name, text in schemas.items())
    return [
        f"{uri}: {error.json_path}: {error.message}"
        for uri in item["stac_extensions"]
        for error in Draft7Validator(schemas[uri], registry=registry).iter_errors(item)
    ]


@pytest.mark.skipif(not SCHEMAS, reason="TILEGATE_STAC_SCHEMAS names no folder of the extensions' JSON schemas")
@pytest.mark.parametrize("what", ["network", "rule", "slide"])
def test_items_are_valid_by_the_schemas_of_their_extensions(item_of: Any, what: str) -> None:
    assert violations(item_of(what), Path(SCHEMAS)) == []


def test_schemas_do_refuse(item_of: Any, tmp_path: Path) -> None:
    """A schema as extensions write them, of one rule of file 2.1.0: a checksum is lower-case hexadecimal."""
    item = item_of("slide")
    fields = {"properties": {"file:checksum": {"type": "string", "pattern": "^[a-f0-9]+$"}}}
    assets = {"properties": {"assets": {"additionalProperties": {"$ref": "#/definitions/fields"}}}}
    for uri in item["stac_extensions"]:
        rule = {**assets, "definitions": {"fields": fields}} if "/file/" in uri else {}
        text = {"$schema": "http://json-schema.org/draft-07/schema#", "$id": f"{uri}#", **rule}
        (tmp_path / "schemas" / uri.split("/")[3]).mkdir(parents=True)
        (tmp_path / "schemas" / uri.split("/")[3] / "schema.json").write_text(json.dumps(text))
    assert violations(item, tmp_path / "schemas") == []
    item["assets"]["tif"]["file:checksum"] = "1220ABCD"
    (found,) = violations(item, tmp_path / "schemas")
    assert "$.assets.tif['file:checksum']" in found
