"""Networks from a float image in [0, 1] to logits: normalisation, a residual front end, a trunk."""
