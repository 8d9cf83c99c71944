"""Neural recall in parts: item encoder × query encoder × negatives × loss, trained by ``training.Trainer``."""
