"""Read and write distilled sets in the formats of other tools."""
