"""Networks to other programs, and from them, in the neuromorphic intermediate representation (NIR)."""
