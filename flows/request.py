"""Which image, and what its file forgot to say: the other parameter of the flow."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_serializer

from tiling.address import public
from tiling.info import PixelSize
from tiling.source import MAX_PIXELS, SourceSpec


class ImageRequest(BaseModel):
    """One image as a person asks for it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    uris: list[str] = Field(min_length=1, description="A path or URL; several rasters of one band each are one image.")
    bands: dict[str, int | str] = Field(default_factory=dict, description='Names of bands: {"green": 2, "nir": 4}.')
    nodata: float | None = Field(None, description="For rasters that do not declare theirs.")
    pixel_size: tuple[float, float] | None = Field(None, description="(y, x) of a pixel, for images that do not say.")
    pixel_unit: Literal["um", "m"] = Field("um", description="um for slides, m for ground.")
    max_pixels: int = Field(MAX_PIXELS, ge=1, description="An image that declares more is refused.")

    @field_serializer("uris", when_used="json")
    def _shown(self, uris: list[str]) -> list[str]:
        """What Prefect writes into its database: an address without its signature."""
        return [public(uri) for uri in uris]

    def spec(self) -> SourceSpec:
        """The same as the other rooms know it."""
        size = self.pixel_size
        return SourceSpec(
            uris=tuple(self.uris),
            bands=tuple(self.bands.items()),
            nodata=self.nodata,
            pixel_size=PixelSize(y=size[0], x=size[1], unit=self.pixel_unit) if size else None,
            max_pixels=self.max_pixels,
        )
