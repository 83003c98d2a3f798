"""Files of other programs to the records of a world: what they are, which way is up, and how long a metre is."""
