"""``python -m monai_cxraug`` is ``cxraug``."""

import sys

from monai_cxraug.cli import main

sys.exit(main())
