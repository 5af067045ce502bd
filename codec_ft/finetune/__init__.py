"""Fine-tuning a codec's encoder to hear one stem."""
