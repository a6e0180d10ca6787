"""What a reader of prepared data wants to know first: counted for ``summary.json``, and told in one screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_cxraug.data.decoding import Outcome, Recipe
from monai_cxraug.data.duplicates import count_duplicates
from monai_cxraug.data.manifest import Manifest
from monai_cxraug.data.sources.listing import Listing

SCHEMA = "cxraug.summary/1"
#: reasons and values that the text shows of each kind.
_SHOWN = 4

Json = dict[str, Any]


def summarise(manifest: Manifest, outcomes: Sequence[Outcome], listing: Listing, recipe: Recipe) -> Json:
    """Count a prepared set.

    Args:
        manifest: the packed images.
        outcomes: of every file of the listing.
        listing: what the source listed.
        recipe: how files became pictures.

    Returns:
        JSON-serialisable: images and patients, in all, per split and per fold; per finding and split (fold) positives,
        negatives and unknown; views, sexes, ages; originals; what was left out and why; duplicates; the policy.
    """
    left_out = {
        "quarantined": [*_reasons(outcomes, "quarantined"), *listing.refused.values()],
        "dropped": [*_reasons(outcomes, "dropped"), *listing.dropped.values()],
        "missing": list(listing.missing.values()),
    }
    return {
        **listing.info,
        "images": len(manifest),
        "patients": len(manifest.patients()),
        "size": recipe.size,
        "depth": recipe.depth,
        "fit": recipe.fit,
        "channels": recipe.channels,
        **_by_group(manifest, "split"),
        **({"by_fold": _by_group(manifest, "fold")} if "fold" in manifest.columns else {}),
        "views": _counts(manifest["view"]),
        "sexes": _counts(manifest["sex"]),
        "ages": _ages(manifest["age"]),
        "originals": _originals([one for one in outcomes if one.state == "packed"], recipe),
        "greyscale": _counts(one.tags["greyscale"].split(" ")[0] for one in outcomes if one.state == "packed"),
        **{kind: len(reasons) for kind, reasons in left_out.items()},
        "reasons": {kind: _counts(map(_rule, reasons)) for kind, reasons in left_out.items()},
        "duplicates": count_duplicates(manifest),
        "policy": asdict(recipe.policy),
    }


def describe(summary: Mapping[str, Any]) -> str:
    """Tell a summary in one screen of aligned text, what calls for attention last."""
    lines = [f"{summary.get('name', 'images')}: {summary['images']} images of {summary['patients']} patients", ""]
    lines += _table(summary)
    lines += [f"{name:<12}{text}" for name, text in _facts(summary) if text]
    return "\n".join([*lines, *(f"WARNING: {text}" for text in _warnings(summary))])


def _by_group(manifest: Manifest, column: str) -> Json:
    """Images, patients and findings by the values of a column; the empty one is called ``none``."""
    values = manifest[column]
    names = sorted(set(values), key=lambda value: (not value, value))
    rows_of = {value or "none": np.flatnonzero(values == value) for value in names}
    images = {name: {"images": len(rows), "patients": len(manifest.patients(rows))} for name, rows in rows_of.items()}
    findings = {
        finding: {name: _labels(labels[rows]) for name, rows in rows_of.items()}
        for finding, labels in zip(manifest.findings, manifest.labels.T, strict=True)
    }
    return {f"{column}s": images, "findings": findings}


def _labels(labels: NDArray[np.float32]) -> dict[str, int]:
    positives, unknown = int((labels == 1).sum()), int(np.isnan(labels).sum())
    return {"positives": positives, "negatives": len(labels) - positives - unknown, "unknown": unknown}


def _ages(texts: Iterable[str]) -> Json:
    """Smallest, quartiles and largest of the ages in years that are known."""
    ages = [int(text) for text in texts if text.isascii() and text.isdigit()]
    return {"known": len(ages), "quartiles": _quantiles(ages, (0, 0.25, 0.5, 0.75, 1))}


def _originals(packed: Sequence[Outcome], recipe: Recipe) -> Json:
    """Sizes and bits of the originals; enlarged ones are smaller than the pictures made of them."""
    sides = [(one.height, one.width) for one in packed]
    shortest = max if recipe.fit == "pad" else min  # padded, only the longer side fills the square
    return {
        "height": _quantiles([height for height, _ in sides], (0, 0.5, 1)),
        "width": _quantiles([width for _, width in sides], (0, 0.5, 1)),
        "bits": _counts(str(one.bits) for one in packed),
        "enlarged": sum(shortest(side) < recipe.size for side in sides),
    }


def _quantiles(values: Sequence[int], shares: Sequence[float]) -> list[float]:
    return [round(float(value), 1) for value in np.quantile(values, shares)] if values else []


def _reasons(outcomes: Sequence[Outcome], state: str) -> list[str]:
    return [one.reason for one in outcomes if one.state == state]


def _rule(reason: str) -> str:
    """The rule that was broken, without what was found in the one file."""
    return reason.split("; ", 1)[0]


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


# --- the text ---


def _table(summary: Mapping[str, Any]) -> list[str]:
    """Images, patients and positives by split, with unknown labels where there are any."""
    splits = [name for name in ("train", "val", "test", "none") if name in summary["splits"]]
    rows = [["", *splits]]
    for kind in ("images", "patients"):
        rows.append([kind, *(str(summary["splits"][split][kind]) for split in splits)])
    for finding, counts in summary["findings"].items():
        rows.append([finding, *(_positives(counts[split]) for split in splits)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [[f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)] for row in rows]
    return [*("  ".join([f"{row[0]:<{widths[0]}}", *line[1:]]) for row, line in zip(rows, lines, strict=True)), ""]


def _positives(counts: Mapping[str, int]) -> str:
    return f"{counts['positives']}" + (f" ({counts['unknown']} unknown)" if counts["unknown"] else "")


def _facts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    originals = summary["originals"]
    spans = [f"{kind} {'-'.join(f'{value:g}' for value in originals[kind][::2])}" for kind in ("height", "width")]
    return [
        ("folds", _list(summary["by_fold"]["folds"], lambda one: one["images"]) if "by_fold" in summary else ""),
        ("views", _list(summary["views"])),
        ("sexes", _list(summary["sexes"])),
        ("ages", _tell_ages(summary["ages"]["quartiles"])),
        ("originals", f"{', '.join(spans)}; bits {_list(originals['bits'])}"),
        ("pictures", _tell_pictures(summary)),
        ("greyscale", _list(summary["greyscale"])),
        *((kind, f"{summary[kind]}: {_list(reasons)}") for kind, reasons in summary["reasons"].items() if reasons),
    ]


def _tell_pictures(summary: Mapping[str, Any]) -> str:
    coloured = ", colour" if summary.get("channels", 1) == 3 else ""
    return f"{summary['size']} px, {summary['depth']} bits, {summary['fit']}{coloured}"


def _tell_ages(ages: Sequence[float]) -> str:
    if not ages:
        return ""
    least, low, middle, high, most = (f"{age:g}" for age in ages)
    return f"median {middle}, quartiles {low}-{high}, range {least}-{most}"


def _list(counts: Mapping[str, Any], value: Any = lambda one: one) -> str:
    parts = [f"{name or 'unknown'} {value(one)}" for name, one in list(counts.items())[:_SHOWN]]
    more = len(counts) - _SHOWN
    return ", ".join([*parts, *([f"{more} more kinds"] if more > 0 else [])])


def _warnings(summary: Mapping[str, Any]) -> list[str]:
    twice, enlarged = summary["duplicates"], summary["originals"]["enlarged"]
    counted = [
        (twice["across_splits"], "pictures are in two of train, val and test; see duplicates.csv"),
        (twice["across_patients"], "pictures occur with two patients; see duplicates.csv"),
        (twice["images"], "images repeat another one; see duplicates.csv"),
        (enlarged, f"originals are smaller than {summary['size']} px and were enlarged"),
        (summary["quarantined"], "files could not be used; see quarantine.csv"),
    ]
    return [f"{count} {text}" for count, text in counted if count]
