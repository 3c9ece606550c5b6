"""What is written to disk and read from it, and what a run tells."""
