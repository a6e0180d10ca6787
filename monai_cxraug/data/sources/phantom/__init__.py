"""A procedural chest-radiograph phantom: patients, anatomy and fourteen findings drawn by known causes.

The pictures serve demonstrations and tests where real radiographs are not at hand. They teach nothing about patients:
the causes are caricatures, and bedside (AP) views come with their usual confounders (larger heart, less air, shoulder
blades over the lungs, ECG leads), so a classifier may learn those instead of the finding, as it may on real data.
"""

from monai_cxraug.data.sources.phantom.exposure import render
from monai_cxraug.data.sources.phantom.population import Cause, Study, make_cause, sample_population, with_cause
from monai_cxraug.data.sources.phantom.writers import write_native, write_nih_layout

__all__ = [
    "Cause",
    "Study",
    "make_cause",
    "render",
    "sample_population",
    "with_cause",
    "write_native",
    "write_nih_layout",
]
