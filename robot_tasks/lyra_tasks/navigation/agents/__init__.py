"""Learning settings."""
