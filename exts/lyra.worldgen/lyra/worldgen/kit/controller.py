"""State of one generation job, without Kit."""
