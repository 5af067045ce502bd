"""Training token models on the one loop: options, loss, step, task, and what is measured of a trained one."""
