"""Records and helpers that every stage shares: NumPy only, no knowledge of any model or simulator."""
