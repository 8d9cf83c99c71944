"""The one training loop of every model that takes epochs, and what it rests on."""
