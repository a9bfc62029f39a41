"""A network of the size of detectors in use: the 50 layers of He et al. 2016 (arXiv 1512.03385), 25 million weights."""

from torch import Tensor, nn


class Bottleneck(nn.Module):
    """Three convolutions beside a shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = 4 * width
        self.layers = nn.Sequential(
            *(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, out, 1, bias=False), nn.BatchNorm2d(out)),
        )
        same = stride == 1 and channels == out
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Return ``(N, 4 width, H / stride, W / stride)``."""
        output: Tensor = (self.layers(maps) + self.shortcut(maps)).relu()
        return output


class ResNet50(nn.Module):
    """From pictures ``(N, 3, H, W)`` in [0, 1] to logits ``(N, classes)``."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        channels = 64
        for width, count in ((64, 3), (128, 4), (256, 6), (512, 3)):
            for number in range(count):
                blocks.append(Bottleneck(channels, width, 2 if number == 0 and width > 64 else 1))
                channels = 4 * width
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, classes)``."""
        logits: Tensor = self.head(self.blocks(self.stem(4 * (images - 0.5))))
        return logits
