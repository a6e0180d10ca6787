"""What the app adds to MONAI Label: one answer to one radiograph. Only ``task`` and ``datastores`` know MONAI Label."""
