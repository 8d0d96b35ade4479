"""What every mirror, every issuer, every consumer and every field must do: the author of one more writes a factory."""
