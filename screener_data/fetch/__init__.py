"""Downloads: addresses, politeness, retries, and the folder of raw files. Knows no tables."""
