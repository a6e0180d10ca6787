"""What every generator of images can do, whatever its network: be trained, sampled by number, and tell its origin."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from monai.inferers import Inferer, SimpleInferer
from numpy.typing import NDArray
from torch import Tensor

from monai_cxraug.artifacts import file_hash
from monai_cxraug.errors import ConfigError, StateError
from monai_cxraug.labels import require_findings
from monai_cxraug.networks.latents import CENTRE, LABELS, Layout, draw_uniform, layout_of
from monai_cxraug.networks.weights import Model, load_model
from monai_cxraug.resources import resource_root

Images = NDArray[np.float32]
Labels = NDArray[np.float32]
#: runs configuration files, a base and its overlays, with settings: ``bundle_config.run_stage``, or what wraps it.
Train = Callable[[Sequence[Path], Mapping[str, Any]], None]

#: pixels that pass through the network at once, and the most images: 16 at up to 181 px, then fewer, 1 at 1024 px.
_PIXELS, _MOST = 2**19, 16
#: samples among which the centre of truncation is looked for.
_CANDIDATES = 64
_LABEL_OF_TEXT = {"0": 0.0, "1": 1.0, "?": np.nan}


class Generator(ABC):
    """A trained maker of images of findings.

    Image k of a finding is a function of the seed and k alone: pixels are equal to the last bit however many images are
    asked for and wherever the range begins, on one machine with one version of torch and one number of threads.
    """

    #: names behind the label vectors, in order.
    findings: tuple[str, ...]
    #: height and width of its images in pixels.
    size: tuple[int, int]
    #: 1 for grey images, 3 for colour.
    channels: int
    #: ranges that begin and end at multiples of it cost least.
    chunk: int

    @classmethod
    @abstractmethod
    def fit(cls, output_dir: str | Path, settings: Mapping[str, Any], train: Train) -> Self:
        """Train one, or go on where an interrupted training stopped.

        Args:
            output_dir: folder for the model and all that training writes.
            settings: of the training configuration: at least ``manifest`` and ``finding``.
            train: what runs the configuration.
        """

    @abstractmethod
    def sample(self, n: int, finding: str | None, seed: int, start: int = 0) -> Images:
        """Make images ``start`` to ``start + n - 1``.

        Args:
            n: number of images.
            finding: what they show; None for whatever a conditional generator saw in training, as often.
            seed: of the images.
            start: number of the first one.

        Returns:
            float32 in [0, 1]: ``[n, H, W]``, or ``[n, H, W, 3]`` in colour.

        Raises:
            LabelError: it does not make this finding.
            ConfigError: a number is out of range.
        """

    @abstractmethod
    def labels(self, n: int, finding: str | None, seed: int, start: int = 0) -> Labels:
        """Return what those images are meant to show: float32 ``[n, K]``, 1 present, 0 absent, NaN unknown."""

    @abstractmethod
    def provenance(self) -> dict[str, Any]:
        """Return its origin as plain values: generator, training_manifest, images_seen, patients_seen, truncation."""


class LatentGenerator(Generator):
    """A GAN: latents to images, of one finding or conditional on a label vector.

    A generator of one finding labels its images with that finding 1 and every other one unknown: an image made to show
    Edema may show anything else too, and writing 0 would teach false negatives. A conditional one draws each image's
    label vector from the label vectors of its training images that show the finding, as often as they occur there, and
    labels the image with it.

    Truncation gives up variety for typical images. All directions of the hypersphere of latents are equally likely, so
    neither shrinking latents (normalisation undoes it) nor truncating their normal distribution (Brock et al., BigGAN,
    2018: it only favours some axes) makes images more typical, and there is no w-space (Karras et al., StyleGAN, 2018)
    with a mean. Here latents move towards a centre, along great circles: the one of 64 fixed candidates whose image is
    nearest to the mean of the candidates' images. Codes, where a latent has some beside its noise, stay as drawn.

    Args:
        model: of the class's ``kind``; images are made on the device of its network.
        truncation: share of each latent's angle to the centre that stays, in [0, 1]: 1 is none, 0 makes images that
            differ in codes alone.
        inferer: how the network is called; default as it is.
        codes: values of codes that all images have, by name (see :class:`~monai_cxraug.networks.latents.Layout`);
            others are drawn uniformly for each image.

    Raises:
        ConfigError: truncation is out of range, or there is no such code or value of it.
        StateError: the model is conditional and does not tell its training label vectors.
    """

    #: of its model files.
    kind: str
    #: what trains it: a bundle, and overlays on its training configuration.
    bundle: str
    overlays: tuple[str, ...] = ()

    def __init__(
        self,
        model: Model,
        truncation: float = 1.0,
        inferer: Inferer | None = None,
        codes: Mapping[str, float] | None = None,
    ) -> None:
        if isinstance(truncation, bool) or not isinstance(truncation, int | float) or not 0 <= truncation <= 1:
            raise ConfigError("truncation", "must be a number from 0 to 1", repr(truncation), "1 is no truncation")
        self.model, self.truncation = model, float(truncation)
        self.inferer, self.codes = inferer or SimpleInferer(), dict(codes or {})
        self.layout: Layout = layout_of(model.network)
        self.layout.fix(self.layout.draw(0, 0, 1), self.codes)  # refuses what it does not have
        self.findings = tuple(model.about["findings"])
        self.size, self.channels = (model.settings["resolution"],) * 2, model.settings["channels"]
        self.chunk = max(1, min(_MOST, _PIXELS // self.size[0] ** 2))
        self._centres: dict[str | None, Tensor] = {}
        self._rows = _label_rows(model) if model.settings.get("findings", 0) else None

    @classmethod
    def fit(cls, output_dir: str | Path, settings: Mapping[str, Any], train: Train) -> Self:
        """Run the training configuration of its bundle; see :meth:`Generator.fit`."""
        folder = resource_root() / "bundles" / cls.bundle
        place = {"bundle_root": str(folder), "output_dir": str(output_dir)}
        train([folder / "configs" / f"{name}.json" for name in ("train", *cls.overlays)], {**settings, **place})
        return cls(load_model(output_dir, cls.kind))

    def sample(self, n: int, finding: str | None, seed: int, start: int = 0) -> Images:
        """Make images; see :meth:`Generator.sample`."""
        self._check(n, finding, seed, start)
        images = np.empty((n, *self.size, *([self.channels] if self.channels > 1 else [])), dtype=np.float32)
        for first in range(start - start % self.chunk, start + n, self.chunk):
            latents = self.layout.draw(seed, first, self.chunk)
            if self.truncation < 1:
                latents = self.layout.towards(latents, self._centre(finding), self.truncation)
            latents = self.layout.fix(latents, self.codes)
            made = self._run(latents, self._draw_labels(self.chunk, finding, seed, first))
            begin, end = max(first, start), min(first + self.chunk, start + n)
            images[begin - start : end - start] = made[begin - first : end - first].cpu().numpy()
        return images

    def labels(self, n: int, finding: str | None, seed: int, start: int = 0) -> Labels:
        """Return the images' label vectors; see :meth:`Generator.labels`."""
        self._check(n, finding, seed, start)
        drawn = self._draw_labels(n, finding, seed, start)
        if drawn is None:
            drawn = np.full((n, len(self.findings)), np.nan, dtype=np.float32)
            drawn[:, self.findings.index(str(finding))] = 1
        return drawn

    def provenance(self) -> dict[str, Any]:
        """Return the origin; see :meth:`Generator.provenance`."""
        model, codes = self.model, {"codes": self.codes} if self.codes else {}
        return {
            "generator": {"sha256": self._sha256, "kind": model.kind, "settings": model.settings},
            "training_manifest": model.about["manifest"],
            "images_seen": model.about["images_seen"],
            "patients_seen": list(model.about["patients_seen"]),
            "truncation": self.truncation,
            **({"privacy": spent} if (spent := model.about.get("privacy")) else {}),
            **codes,
        }

    @cached_property
    def _sha256(self) -> str:
        return file_hash(self.model.path)

    def _check(self, n: int, finding: str | None, seed: int, start: int) -> None:
        for name, value, least in (("n", n, 1), ("seed", seed, 0), ("start", start, 0)):
            require_whole(name, value, least)
        choices = [str(self.model.about.get("finding"))]
        if self._rows is not None:
            if finding is None:
                return
            shown = (self._rows[0] == 1).any(axis=0)
            choices = [name for name, any_image in zip(self.findings, shown, strict=True) if any_image]
        require_findings([str(finding)], choices, f"{self.model.path} --finding")

    def _draw_labels(self, n: int, finding: str | None, seed: int, start: int) -> Labels | None:
        """Label vectors of images, drawn as often as training images with the finding have them; None without."""
        if self._rows is None:
            return None
        rows, counts = self._rows
        shown = slice(None) if finding is None else rows[:, self.findings.index(finding)] == 1
        ends = np.cumsum(counts[shown])
        chosen = np.searchsorted(ends, draw_uniform(seed, start, n, 1, LABELS)[:, 0] * ends[-1])
        drawn: Labels = rows[shown][chosen]
        return drawn

    def _run(self, latents: Tensor, labels: Labels | None) -> Tensor:
        """Images ``[N, H, W]``, or ``[N, H, W, 3]`` in colour, of latents ``[N, size]``."""
        device = next(self.model.network.parameters()).device
        given = {} if labels is None else {"labels": torch.from_numpy(labels).to(device)}
        with torch.inference_mode():
            images: Tensor = self.inferer(latents.to(device), self.model.network, **given)
            images = images.float().clamp(0, 1)
            return images[:, 0] if self.channels == 1 else images.movedim(1, 3)

    def _centre(self, finding: str | None) -> Tensor:
        """The candidate latent ``[size]`` whose image is nearest to the mean of the candidates' images."""
        if finding not in self._centres:
            latents = self.layout.draw(0, 0, _CANDIDATES, CENTRE)
            labels = self._draw_labels(_CANDIDATES, finding, 0, 0)
            parts = [slice(first, first + self.chunk) for first in range(0, _CANDIDATES, self.chunk)]
            images = torch.cat([self._run(latents[part], None if labels is None else labels[part]) for part in parts])
            distances = (images - images.mean(dim=0)).square().flatten(1).mean(dim=1)
            self._centres[finding] = latents[int(distances.argmin())]
        return self._centres[finding]


class PgganGenerator(LatentGenerator):
    """A progressive GAN, for one finding or conditional on a label vector."""

    kind, bundle = "pggan", "chest_xray_pggan"


class InfoganGenerator(LatentGenerator):
    """An InfoGAN: beside noise its latents hold codes, drawn uniformly unless they are fixed."""

    kind, bundle = "infogan", "image_infogan"


class DcganGenerator(LatentGenerator):
    """A DCGAN."""

    kind, bundle, overlays = "dcgan", "image_infogan", ("dcgan",)


class FastganGenerator(LatentGenerator):
    """A FastGAN, for few images."""

    kind, bundle, overlays = "fastgan", "image_infogan", ("fastgan",)


#: kind of a model file to the generator that it makes.
GENERATORS: dict[str, type[LatentGenerator]] = {
    one.kind: one for one in (PgganGenerator, InfoganGenerator, DcganGenerator, FastganGenerator)
}


def make_generator(
    model: Model,
    truncation: float = 1.0,
    inferer: Inferer | None = None,
    codes: Mapping[str, float] | None = None,
) -> LatentGenerator:
    """Return the generator of a model.

    Args:
        model: of one of the kinds in :data:`GENERATORS`.
        truncation: from 0 to 1; see the generator.
        inferer: how the network is called; default as it is.
        codes: values of codes that all images have, by name.

    Raises:
        StateError: the model makes no images.
    """
    require_generator(model)
    return GENERATORS[model.kind](model, truncation, inferer, codes)


def require_generator(model: Model) -> None:
    """Refuse a model that makes no images.

    Raises:
        StateError: it makes none.
    """
    if model.kind not in GENERATORS:
        raise StateError(model.path, f"must be a {' or '.join(GENERATORS)}", model.kind, "give another model")


def load_generator(
    where: str | Path,
    truncation: float = 1.0,
    device: str | None = None,
    inferer: Inferer | None = None,
    codes: Mapping[str, float] | None = None,
) -> LatentGenerator:
    """Load a generator.

    Args:
        where: model file, generator folder of a run, or bundle folder.
        truncation: from 0 to 1; see the generator.
        device: where it makes its images; default a GPU where there is one.
        inferer: how the network is called; default as it is.
        codes: values of codes that all images have, by name.

    Raises:
        InputError: missing or unreadable.
        StateError: no generator.
    """
    model = load_model(where)
    generator = make_generator(model, truncation, inferer, codes)
    model.network.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return generator


def ranges(generator: Generator, n: int, start: int = 0) -> Iterator[tuple[int, int]]:
    """Cut images ``start`` to ``start + n - 1`` into ranges (first, count) that the generator makes at once."""
    first, end = start, start + n
    while first < end:
        count = min(end - first, generator.chunk - first % generator.chunk)
        yield first, count
        first += count


def require_whole(name: str, value: object, least: int) -> None:
    """Refuse what is not a whole number of at least ``least``.

    Raises:
        ConfigError: it is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        rule = f"must be a whole number of at least {least}"
        raise ConfigError(name, rule, repr(value), f"give --{name} {name[0].upper()}")


def _label_rows(model: Model) -> tuple[Labels, NDArray[np.int64]]:
    """Label vectors ``[R, K]`` of a conditional generator's training images, and how many have each, ``[R]``.

    The model says it as ``label_rows``: a text of 1, 0 and ? per vector, in the order of its findings, to a count.
    """
    counts, width = model.about.get("label_rows"), len(model.about["findings"])
    if not isinstance(counts, Mapping) or not counts or model.settings["findings"] != width:
        rule = "a conditional generator must tell its findings and how often each label vector was seen"
        raise StateError(model.path, rule, f"label_rows {counts!r}", "train it again")
    for text, count in counts.items():
        if not (
            isinstance(text, str) and re.fullmatch(f"[01?]{{{width}}}", text) and isinstance(count, int) and count > 0
        ):
            rule = f"label_rows must be texts of {width} times 1, 0 or ?, with a count of at least 1"
            raise StateError(model.path, rule, f"{text!r}: {count!r}", "train it again")
    texts = sorted(counts)
    rows = np.array([[_LABEL_OF_TEXT[letter] for letter in text] for text in texts], dtype=np.float32)
    return rows, np.array([counts[text] for text in texts], dtype=np.int64)
