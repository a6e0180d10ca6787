"""What the app adds to MONAI Label: one answer to one radiograph. Only ``task`` and ``series`` know MONAI Label."""
