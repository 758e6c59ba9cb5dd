"""A generator of a third party: the DCGAN of faces in the package gan-face-generate (MIT).

Fetch its weights without its dependencies, then use them with this file:

    pip download --no-deps gan-face-generate==1.1.1
    unzip -j gan_face_generate-1.1.1-py3-none-any.whl gan_face_generate/weights.tar
    wherefrom attribution fit --generator examples/face_dcgan.py:G --weights weights.tar ...

The layers are named as in the weights file (`main.0` to `main.12`), as every owner's own are.
"""

from torch import Tensor, nn


class FaceGenerator(nn.Module):
    """Latents (N, 100, 1, 1) to faces (N, 3, 64, 64) in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        widths = (512, 256, 128, 64)
        layers: list[nn.Module] = [nn.ConvTranspose2d(100, 512, 4, 1, 0, bias=False)]
        for before, after in zip(widths, (*widths[1:], 3), strict=True):
            layers += [nn.BatchNorm2d(before), nn.ReLU(inplace=True)]
            layers += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False)]
        self.main = nn.Sequential(*layers, nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        """The faces."""
        images: Tensor = self.main(z)
        return images


G = FaceGenerator
