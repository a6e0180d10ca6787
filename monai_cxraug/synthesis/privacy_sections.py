"""Questions of privacy in the audit of a synthetic set: who was in the training, and whom does one recognise?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from monai_cxraug.console import announce
from monai_cxraug.data.datasets import PackRows
from monai_cxraug.data.manifest import Where
from monai_cxraug.data.pack import to_unit
from monai_cxraug.synthesis.critic import Critic
from monai_cxraug.synthesis.identifiability import Identifiability, Match
from monai_cxraug.synthesis.membership import MembershipAudit
from monai_cxraug.synthesis.nearest import Images
from monai_cxraug.synthesis.recognition import Recogniser

#: images that an attacker holds at most, and that are in memory at once.
_MOST, _BLOCK = 10_000, 512


@dataclass(frozen=True)
class MembershipSection:
    """Membership inference; see :class:`~monai_cxraug.synthesis.membership.MembershipAudit`.

    Args:
        checkpoint: of the generator's training, for its discriminator; None for an attacker who has images alone.
        where: of real images, keep rows whose columns have these values.
        device: where the discriminator computes.
    """

    checkpoint: str | Path | None = None
    where: Where | None = None
    device: str = "cpu"

    def examine(self, synthetic: PackRows, training: Path, about: Mapping[str, Any]) -> dict[str, Any]:
        """Attack with the first ten thousand images of the set, and say in a line what came of it."""
        critic = None if self.checkpoint is None else Critic(self.checkpoint, self.device)
        size = min(synthetic.pack.array.shape[1:3])
        audit = MembershipAudit.of(about, training, size, synthetic.channels, self.where, critic)
        if isinstance(audit, str):
            announce(f"membership not asked: {audit}")
            return {"not run": audit}
        report = audit.report(_pictures(synthetic, 0, min(_MOST, len(synthetic))))
        areas = ", ".join(f"{name} AUROC {one['auroc']:.3f}" for name, one in report["attacks"].items())
        announce(f"membership: {report['verdict']} ({areas})")
        return report


@dataclass(frozen=True)
class IdentifiabilitySection:
    """Recognition of training patients; see :class:`~monai_cxraug.synthesis.identifiability.Identifiability`.

    Args:
        reidentifier: model file of a network that tells patients apart, or a folder that holds one.
        where: of real images, keep rows whose columns have these values.
        device: where it computes.
    """

    reidentifier: str | Path
    where: Where | None = None
    device: str = "cpu"

    def examine(self, synthetic: PackRows, training: Path, about: Mapping[str, Any]) -> dict[str, Any]:
        """Look for training patients in every image of the set, and say in a line what came of it."""
        recogniser = Recogniser(self.reidentifier, self.device, synthetic.channels)
        audit = Identifiability.of(about, training, recogniser, self.where)
        if isinstance(audit, str):
            announce(f"identifiability not asked: {audit}")
            return {"not run": audit}
        starts = range(0, len(synthetic), _BLOCK)
        found = [audit.find(recogniser(_pictures(synthetic, start, start + _BLOCK))) for start in starts]
        match = Match(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
        report = audit.report(synthetic.manifest["image"][synthetic.rows].astype(str).tolist(), match)
        shares = ", ".join(f"{one['share']:.1%} at {one['expected_share']:.1%} by mistake" for one in report["rates"])
        announce(f"identifiability: {report['verdict']} ({shares})")
        return report


def _pictures(synthetic: PackRows, start: int, stop: int) -> Images:
    return to_unit(synthetic.pack.batch(synthetic.rows[start:stop]))
