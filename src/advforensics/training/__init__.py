"""Everything in a training except the loss: callbacks for Lightning's Trainer, and augmentation."""
