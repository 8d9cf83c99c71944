"""Query encoders: one file per kind, which owns its configuration, inputs, training examples and chunking."""
