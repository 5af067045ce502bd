"""What may stand between the encoder and the quantiser."""
