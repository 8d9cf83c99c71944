"""Fast forms of plain PyTorch operations, each tested against the operation it replaces."""
