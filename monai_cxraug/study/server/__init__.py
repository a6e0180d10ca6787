"""The reader-study web page: one process, one SQLite file, no torch; ``monai_cxraug.study.serving`` starts it."""
