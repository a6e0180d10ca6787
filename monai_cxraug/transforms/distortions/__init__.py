"""The distortions of :mod:`~monai_cxraug.transforms.functional.distortions` as transforms, one group a module.

Their names begin with ``Distort``; a dictionary version ends in ``d``.
"""
