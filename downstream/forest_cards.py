"""The model cards of the forest pair: what each is for, how good it was on what, and what it was never tried on."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from classifiers.bundle import Bundle, Calibration

_COMMON = """## Data and licence

Trained and measured on the *Amazon Rainforest dataset for semantic segmentation* by L. Bragagnolo, R. V. da Silva and
J. M. V. Grzybowski, Zenodo record 3233081: 34 Sentinel-2 RGB scenes of 512 x 512 px at about 10 m, with masks of
forest and everything else (cleared land, savanna, fields, water). The files are those of GitHub
davej23/attention-mechanism-unet at 7b0c7f52ec, dataset/training and dataset/validation.

Licence of data and weights: CC BY 4.0; name the authors above. A caveat: the record's licence was noted from memory;
the same authors' later record 4498086 is stated as CC BY 4.0 by a third party. Check before you build a product on it.

The split is by scene: sorted by share of forest, every fourth is held out ({held_out_count} of {scenes}), the others
are for training. No two scenes overlap. Held out: {held_out}. The weights and the figures below come from one run with
settings that were chosen on training scenes only.

## Valid for

Pixels of {pixel:g} m, {low:g} to {high:g} times that; bands red, green, blue as uint8, stretched as in this data set
(forest is dark: the mean of all training pixels is {mean}). Other pixel sizes and value types are refused; another
stretch is not noticed and gives wrong results.

Never tried on: other sensors, other biomes than the Amazon and its southern edge (latitude -16.5 to 0.1), other
seasons, plantations, mangroves, cloud, haze or shadow, or images brightened for display.

## Make it again

    python -m downstream.train_forest DATA_DIR

Seeded; ten to fifteen minutes on two cores. Another torch version or processor gives slightly different weights. With
`--export-only` the weights stay, and only model.xml, model.bin and the section on runtimes are made again.

sha256 of model.safetensors: `{{sha256}}`"""


def gate_card(bundle: Bundle, held_out: Sequence[str], scenes: int) -> str:
    """README.md of the gate."""
    assert bundle.calibration is not None
    m, size = bundle.metrics, bundle.pixel_size.y
    return _wrap(f"""# {bundle.name}

Says how likely a tile holds forest, at least 1 % of it, from pixels of {size:g} m: the gate before a forest
segmenter. Trained and measured on tiles of {bundle.input_px} px (2.56 km); the network takes any other side, but what
its scores are worth there was not measured. It is timm's `{bundle.architecture}`, a ResNet of 0.37 million weights, with
max pooling, trained from random weights.

## Measured on held-out scenes

At the recommended threshold {bundle.threshold:g} it lets {round(m["recall"] * m["positives"])} of
{m["positives"]:g} tiles with forest through (recall {m["recall"]:.3f}) and keeps
{m["negatives_kept_out"]:g} of {m["negatives"]:g} tiles without forest out. Lowest score of a tile with forest
{m["lowest_positive_score"]:.3f}, highest of one without {m["highest_negative_score"]:.3f}.

Read this with care:

- The threshold is one half, or less where these same tiles need it. {_promise(bundle.calibration)}
- Nearly every tile of this data holds forest, so **the gate saves little here**: {m["negatives"]:g} of
  {m["tiles"]:g} held-out tiles could be skipped at best, all of them in one scene. It pays where forest is rare.
- No training tile of this size is without forest. The gate learned "no forest" from mosaics of small bare blocks of
  the training scenes. On real tiles it is tested in that one held-out scene only.

`tilegate:calibration` in bundle.json holds every held-out tile's score, label and share of forest.

{_common(bundle, held_out, scenes)}""")


def segmenter_card(bundle: Bundle, counts: Mapping[str, Sequence[int]], scenes: int) -> str:
    """README.md of the segmenter. counts: per held-out scene, pixels (both forest, only mapped, only true, neither)."""
    m = bundle.metrics
    return _wrap(f"""# {bundle.name}

Maps forest, pixel by pixel, at {bundle.pixel_size.y:g} m: a U-Net of segmentation-models-pytorch on
`{bundle.hyperparameters["encoder_name"]}`, 0.58 million weights, trained from random weights on crops of
{bundle.input_px} px. Give it 32 px of context around each tile.

## Measured on held-out scenes

{m["pixels"] / 1e6:.2f} million pixels, tiles of 256 px with 32 px of context, as in a run:
F1 of forest {m["f1"]:.3f} (precision {m["precision"]:.3f}, recall {m["recall"]:.3f}, IoU {m["iou"]:.3f}),
accuracy {m["accuracy"]:.3f}, area of forest {100 * m["area_error"]:+.1f} % against the masks.

The error of one scene is larger than that of the sum:

| scene | forest in the mask | mapped | accuracy |
|---|---|---|---|
{_scene_rows(counts)}

Where forest ends and regrowth or riverside woodland begins is partly a decision of the masks' authors, which the model
can not know. An area from this model is a mapped area, not a survey.

{_common(bundle, list(counts), scenes)}""")


def _wrap(card: str) -> str:
    """Paragraphs and list items refilled to lines of 100: the figures in them are longer or shorter than their names."""
    blocks = []
    for block in card.split("\n\n"):
        if block.startswith("- "):
            items = block[2:].split("\n- ")
            blocks.append("\n".join(_fill(f"- {item}", indent="  ") for item in items))
        else:
            blocks.append(block if block.startswith(("#", "|", " ")) else _fill(block))
    return "\n\n".join(blocks) + "\n"


def _fill(text: str, indent: str = "") -> str:
    return textwrap.fill(" ".join(text.split()), 100, subsequent_indent=indent, break_on_hyphens=False)


def _common(bundle: Bundle, held_out: Sequence[str], scenes: int) -> str:
    low, high = bundle.pixel_size_range
    return _COMMON.format(
        held_out=", ".join(held_out),
        held_out_count=len(held_out),
        scenes=scenes,
        pixel=bundle.pixel_size.y,
        low=low,
        high=high,
        mean=", ".join(f"{value:.0f}" for value in bundle.mean) + " of 255",
    )


def _scene_rows(counts: Mapping[str, Sequence[int]]) -> str:
    rows = []
    for name, (both, mapped_only, true_only, neither) in counts.items():
        total = both + mapped_only + true_only + neither
        shares = [100 * n / total for n in (both + true_only, both + mapped_only, both + neither)]
        rows.append(f"| {name} | {shares[0]:.1f} % | {shares[1]:.1f} % | {shares[2]:.1f} % |")
    return "\n".join(rows)


def _promise(calibration: Calibration) -> str:
    """What n positives without a miss can prove: with 95 % confidence recall is above 0.05 ** (1 / n)."""
    n = sum(label for (label,) in calibration.labels)
    return (
        f"Even without a miss, {n} tiles prove no more than a recall above {0.05 ** (1 / n):.2f} (95 % confidence, and "
        "tiles of one scene resemble each other): let a run's audit say what was missed."
    )
