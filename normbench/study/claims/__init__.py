"""What the papers say, put to the runs on disk: each claim with a difference and a verdict."""
