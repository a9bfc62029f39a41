"""Randomised smoothing: a detector that votes under noise, and whose vote comes with a proof.

Cohen, Rosenfeld & Kolter 2019, "Certified Adversarial Robustness via Randomized Smoothing" (arXiv 1902.02918).
"""

import math

import torch
from scipy.stats import beta, binomtest, norm
from torch import Tensor, nn

from advforensics.attacks.threat_model import LEVEL

ABSTAINS = -1


class Smoothed(nn.Module):
    """A detector's vote over pictures under Gaussian noise, clipped to [0, 1] so that it sees pictures only.

    The proof speaks of the vote, not of the detector, and of the noise as real numbers. It is a statistical one: of all
    certificates at most a share ``alpha`` is wrong.

    Args:
        detector: From images to logits; put into evaluation mode.
        sigma_levels: Standard deviation of the noise in levels. More proves larger radii, and costs accuracy.
        samples: Votes cast for a certificate or an answer.
        selection: Votes cast beforehand, which choose the class that a certificate is for.
        alpha: Probability of being wrong about one picture.
        draws: Draws of noise in :meth:`forward`, the same for every picture.
        batch_size: Pictures that the detector sees at once.
        seed: Of the noise.

    Raises:
        ValueError: If an option is out of its range.
    """

    def __init__(
        self,
        detector: nn.Module,
        sigma_levels: float,
        samples: int = 1000,
        selection: int = 100,
        alpha: float = 0.001,
        draws: int = 16,
        batch_size: int = 64,
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
        self.samples, self.selection, self.alpha = samples, selection, alpha
        self.draws, self.batch_size, self.seed = draws, batch_size, seed

    def forward(self, images: Tensor) -> Tensor:
        """Return the logarithm of the mean probabilities over ``draws`` draws of noise, ``(N, K)``.

        It is what to attack: differentiable, and a fixed sample of what the vote is taken over (Athalye et al. 2018,
        arXiv 1802.00420; Salman et al. 2019, arXiv 1906.04584).
        """
        noise = self._noise(self.draws, images, torch.Generator().manual_seed(self.seed))
        noisy = (images[:, None] + noise).clamp(0, 1)
        logits = self.detector(noisy.flatten(0, 1)).unflatten(0, (len(images), self.draws))
        mean: Tensor = logits.log_softmax(dim=2).logsumexp(dim=1) - math.log(self.draws)
        return mean

    def predict(self, image: Tensor, number: int = 0) -> int:
        """Return the class that the vote on an image ``(C, H, W)`` is for, `ABSTAINS` if it is too close to call.

        Args:
            image: In [0, 1].
            number: Of the image; another one sees other noise.
        """
        votes = self._votes(image, self.samples, self._generator(number, certifying=False))
        first, second = votes.topk(2).values.tolist()
        if binomtest(first, first + second, 0.5).pvalue > self.alpha:
            return ABSTAINS
        return int(votes.argmax())

    def certify(self, image: Tensor, number: int = 0) -> tuple[int, float]:
        """Return the class of an image ``(C, H, W)`` and the L2 radius within which it is proved.

        Args:
            image: In [0, 1].
            number: Of the image; another one sees other noise.

        Returns:
            The class, `ABSTAINS` if nothing is proved; and the radius as root-mean-square change per pixel value, in
            [0, 1], 0 if nothing is proved. It cannot exceed what ``samples`` unanimous votes prove.
        """
        generator = self._generator(number, certifying=True)
        winner = int(self._votes(image, self.selection, generator).argmax())
        votes = int(self._votes(image, self.samples, generator)[winner])
        # Clopper & Pearson's lower limit of the probability of a vote for the winner.
        probability = float(beta.ppf(self.alpha, votes, self.samples - votes + 1)) if votes else 0.0
        if probability <= 0.5:
            return ABSTAINS, 0.0
        return winner, self.sigma * float(norm.ppf(probability)) / math.sqrt(image.numel())

    def _votes(self, image: Tensor, number: int, generator: torch.Generator) -> Tensor:
        votes: Tensor | None = None
        with torch.no_grad():
            for done in range(0, number, self.batch_size):
                noise = self._noise(min(self.batch_size, number - done), image[None], generator)
                logits = self.detector((image + noise).clamp(0, 1))
                cast = logits.argmax(dim=1).bincount(minlength=logits.shape[1])
                votes = cast if votes is None else votes + cast
        assert votes is not None
        return votes

    def _noise(self, number: int, images: Tensor, generator: torch.Generator) -> Tensor:
        return (self.sigma * torch.randn(number, *images.shape[1:], generator=generator)).to(images)

    def _generator(self, number: int, *, certifying: bool) -> torch.Generator:
        """Return random numbers of this image's own, whatever was asked before."""
        return torch.Generator().manual_seed(self.seed + 2 * number + certifying + 1)
