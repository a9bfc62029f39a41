"""Randomised smoothing: a vote of a detector under noise, with a certified L2 radius.

Cohen, Rosenfeld & Kolter 2019, "Certified Adversarial Robustness via Randomized Smoothing" (arXiv 1902.02918).
"""

import math

import torch
from scipy.stats import beta, binomtest, norm
from torch import Tensor, nn

from advforensics.attacks.threat_model import LEVEL

ABSTAINS = -1
BATCH_SIZE = 64


class Smoothed(nn.Module):
    """The majority vote of a detector over noisy copies of a picture, clipped to [0, 1].

    The certificate is of the vote, not of the detector, and takes the noise as real numbers. It is statistical: each
    is wrong with probability ``alpha`` at most.

    Args:
        detector: From images to logits; put into evaluation mode.
        sigma_levels: Standard deviation of the noise in levels. More certifies larger radii and costs accuracy.
        samples: Noisy copies that vote on a certificate or an answer.
        selection: Noisy copies that vote beforehand on the class to certify.
        alpha: Largest probability that a certificate is wrong.
        draws: Noisy copies in :meth:`forward`; their noise is the same for every picture.
        seed: Of the noise.

    Raises:
        ValueError: An option is out of its range.
    """

    def __init__(
        self,
        detector: nn.Module,
        sigma_levels: float,
        samples: int = 1000,
        selection: int = 100,
        alpha: float = 0.001,
        draws: int = 16,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if sigma_levels <= 0 or not 0 < alpha < 0.5 or min(samples, selection, draws) < 1:
            raise ValueError(
                "smoothing: sigma_levels must be positive, alpha between 0 and 0.5, samples, selection and draws at"
                f" least 1; got {sigma_levels}, {alpha}, {samples}, {selection}, {draws}"
            )
        self.detector = detector.eval()
        self.sigma = sigma_levels * LEVEL
        self.samples, self.selection, self.alpha, self.draws, self.seed = samples, selection, alpha, draws, seed

    def forward(self, images: Tensor) -> Tensor:
        """Return the logarithm of the mean probabilities over ``draws`` noisy copies, ``(N, K)``.

        This is what to attack: it is differentiable and averages over a fixed sample of the noise (Athalye et al. 2018,
        arXiv 1802.00420; Salman et al. 2019, arXiv 1906.04584).
        """
        noise = self._noise(self.draws, images, torch.Generator().manual_seed(self.seed))
        noisy = (images[:, None] + noise).clamp(0, 1)
        logits = self.detector(noisy.flatten(0, 1)).unflatten(0, (len(images), self.draws))
        mean: Tensor = logits.log_softmax(dim=2).logsumexp(dim=1) - math.log(self.draws)
        return mean

    def predict(self, image: Tensor, number: int = 0) -> int:
        """Return the class that wins the vote on an image ``(C, H, W)`` in [0, 1], `ABSTAINS` if too close to call."""
        votes = self._votes(image, self.samples, self._generator(number, certifying=False))
        first, second = votes.topk(2).values.tolist()
        if binomtest(first, first + second, 0.5).pvalue > self.alpha:
            return ABSTAINS
        return int(votes.argmax())

    def certify(self, image: Tensor, number: int = 0) -> tuple[int, float]:
        """Return the class of an image ``(C, H, W)`` in [0, 1], or `ABSTAINS`, and the L2 radius that is certified.

        The radius is a root-mean-square change per pixel value, in [0, 1], and 0 if the vote abstains. The number of
        ``samples`` limits it, even if all votes agree. The noise depends on ``number``, that of the image.
        """
        generator = self._generator(number, certifying=True)
        winner = int(self._votes(image, self.selection, generator).argmax())
        votes = int(self._votes(image, self.samples, generator)[winner])
        # Lower limit of the winner's probability (Clopper & Pearson).
        probability = float(beta.ppf(self.alpha, votes, self.samples - votes + 1)) if votes else 0.0
        if probability <= 0.5:
            return ABSTAINS, 0.0
        return winner, self.sigma * float(norm.ppf(probability)) / math.sqrt(image.numel())

    def _votes(self, image: Tensor, number: int, generator: torch.Generator) -> Tensor:
        batches = [min(BATCH_SIZE, number - done) for done in range(0, number, BATCH_SIZE)]
        with torch.no_grad():
            noisy = ((image + self._noise(size, image[None], generator)).clamp(0, 1) for size in batches)
            logits = torch.cat([self.detector(images) for images in noisy])
        return logits.argmax(dim=1).bincount(minlength=logits.shape[1])

    def _noise(self, number: int, images: Tensor, generator: torch.Generator) -> Tensor:
        return (self.sigma * torch.randn(number, *images.shape[1:], generator=generator)).to(images)

    def _generator(self, number: int, *, certifying: bool) -> torch.Generator:
        """Return a generator that depends on the image's number only, not on earlier calls."""
        return torch.Generator().manual_seed(self.seed + 2 * number + certifying + 1)
