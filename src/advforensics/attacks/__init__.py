"""What an attacker may do: threat models, and the one gateway to torchattacks."""
