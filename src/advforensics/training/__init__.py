"""What happens around the steps of a training: callbacks for Lightning's Trainer, and augmentation."""
