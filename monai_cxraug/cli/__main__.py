"""``python -m monai_cxraug.cli`` is ``cxraug``."""

import sys

from monai_cxraug.cli import main

sys.exit(main())
