"""Networks from float pictures in [0, 1] to logits: normalisation, residual front end, trunk."""
