"""A seeded fuzzer of every reader of files; `scripts/fuzz` runs it."""
