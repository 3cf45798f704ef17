"""The keys of ``p``: how one is declared, those that benchmarks share, each benchmark's own, and what goes together."""
