"""Ways out by standards of their own: OME-NGFF, OME-TIFF, STAC, DICOM. For the registry; nothing heavy is imported."""

from __future__ import annotations

from flows.export.job import ExportJob, ExportReport, Format


def ngff(job: ExportJob) -> ExportReport:
    """See flows/export/ngff.py."""
    from flows.export.ngff import export_ngff

    return export_ngff(job)


def ome_tiff(job: ExportJob) -> ExportReport:
    """See flows/export/ome_tiff.py."""
    from flows.export.ome_tiff import export_ome_tiff

    return export_ome_tiff(job)


def stac(job: ExportJob) -> ExportReport:
    """See flows/export/stac.py."""
    from flows.export.stac import export_stac

    return export_stac(job)


def dicom_seg(job: ExportJob) -> ExportReport:
    """See flows/export/dicom.py."""
    from flows.export.dicom import export_dicom_seg

    return export_dicom_seg(job)


STANDARDS = {
    "ngff": Format(about="OME-NGFF 0.5: image and labels, Zarr v3", suffix=".ome.zarr", export=ngff),
    "ome-tiff": Format(about="the mask as a pyramidal OME-TIFF, for QuPath", suffix=".ome.tif", export=ome_tiff),
    "stac": Format(about="a STAC item with checksums and provenance", suffix=".stac.json", export=stac),
    "dicom-seg": Format(about="DICOM segmentation of a slide", suffix=".dcm", export=dicom_seg),
}
