"""Does synthetic data help my rare classes? MONAI bundles and evidence for chest radiographs."""

__version__ = "0.1.0"
