"""Vector files from streamed features: GeoParquet by pyarrow, everything else by GDAL."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


def schema(area_unit: str) -> pa.Schema:
    """Columns of every vector export; geometry is WKB. area_unit: m2 or um2, part of the column's name."""
    import pyarrow as pa

    wkb = {"ARROW:extension:name": "geoarrow.wkb"}
    return pa.schema(
        [
            pa.field("id", pa.string()),
            pa.field("class", pa.string()),
            pa.field(f"area_{area_unit}", pa.float64()),
            pa.field("pixels", pa.int64()),
            pa.field("cut", pa.bool_()),
            pa.field("geometry", pa.binary(), metadata=wkb),
        ]
    )


def write_geoparquet(path: Path, batches: Iterator[pa.RecordBatch], columns: pa.Schema, crs: str | None) -> None:
    """GeoParquet 1.1 (https://geoparquet.org/releases/v1.1.0/), a batch at a time. crs: WKT; None = unknown."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyproj import CRS

    geometry: dict[str, Any] = {"encoding": "WKB", "geometry_types": ["Polygon"], "orientation": "counterclockwise"}
    geometry["crs"] = CRS.from_user_input(crs).to_json_dict() if crs else None
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": geometry}}
    plain = pa.schema([field.remove_metadata() for field in columns], metadata={"geo": json.dumps(geo)})
    with pq.ParquetWriter(path, plain, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch.cast(plain))


def write_gdal(
    path: Path, batches: Iterator[pa.RecordBatch], columns: pa.Schema, crs: str | None, driver: str, **options: str
) -> None:
    """One layer by a driver of GDAL, named after the file. options: of its creation."""
    import pyarrow as pa
    import pyogrio

    warnings.filterwarnings("ignore", "'crs' was not provided")  # slides are on no map
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "1970-01-01T00:00:00Z"})  # the same bytes every time
    try:
        pyogrio.write_arrow(
            pa.RecordBatchReader.from_batches(columns, batches),
            path,
            driver=driver,
            layer="objects",
            geometry_name="geometry",
            geometry_type="Polygon",
            crs=crs,
            **options,
        )
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})
