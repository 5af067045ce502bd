"""What fine-tuning minimises: pure functions that name their equation."""
