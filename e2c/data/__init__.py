"""What was recorded, and how training sees it."""
