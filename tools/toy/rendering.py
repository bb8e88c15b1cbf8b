"""Batched rendering of training scenes on any device."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SHEAR, STRETCH, WARP, TILT = 0.1, 0.2, 0.04, math.radians(20)


class Renderer:
    """Pastes randomly varied pictograms on backgrounds.

    Args:
        sprites: RGBA with premultiplied alpha, uint8 ``[N, 4, S, S]``.
        textures: RGB backgrounds, uint8 ``[T, 3, P, P]``.
    """

    def __init__(self, sprites: Tensor, textures: Tensor):
        self.sprites, self.textures = sprites, textures
        self.areas = (sprites[:, 3] > 127).float().mean((1, 2))

    def __call__(
        self, shown: Tensor, background: Tensor, side: int, sizes: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Render scenes.

        Args:
            shown: Indices of sprites from back to front, int64 ``[B, K]``; -1 for none.
            background: Index of each scene's texture, int64 ``[B]``.
            side: Height and width in pixels.
            sizes: Smallest and largest side of a sprite in pixels.

        Returns:
            Images, float32 ``[B, 3, side, side]``, 0 to 1, and the visible share of each sprite,
            float32 ``[B, K]``, 0 to 1.
        """
        canvas = self._crop_textures(background, side)
        alphas, areas = [], []
        for column in shown.T:
            low, high = sizes
            size = low + (high - low) * torch.rand(len(column), device=canvas.device)
            layer = _place(self.sprites[column.clamp(min=0)], size / side, side)
            layer *= (column >= 0).view(-1, 1, 1, 1)
            alpha = layer[:, 3:]
            canvas += _recolor(layer[:, :3], alpha) - alpha * canvas
            alphas.append(alpha[:, 0])
            areas.append(self.areas[column.clamp(min=0)] * size**2)
        uncovered, visible = torch.ones_like(alphas[0]), []
        for alpha, area in zip(reversed(alphas), reversed(areas)):
            visible.append((alpha * uncovered).sum((1, 2)) / area)
            uncovered = uncovered * (1 - alpha)
        return _expose(canvas), torch.stack(visible[::-1], dim=1)

    def _crop_textures(self, chosen: Tensor, side: int) -> Tensor:
        room = self.textures.shape[-1] - side + 1
        corners = torch.randint(room, (len(chosen), 2)).tolist()
        crops = [
            self.textures[index, :, y : y + side, x : x + side]
            for index, (y, x) in zip(chosen.tolist(), corners)
        ]
        return torch.stack(crops).float() / 255


def _place(sprites: Tensor, scale: Tensor, side: int) -> Tensor:
    """Place sprites ``[B, 4, S, S]`` on canvases with random affine transforms and warps."""
    count, device = len(sprites), sprites.device
    rand = torch.rand(count, 6, device=device) * 2 - 1
    angle, stretch = TILT * rand[:, 0], torch.exp(STRETCH * rand[:, 1])
    mirror = rand[:, 2].sign()
    cos, sin = angle.cos() / scale, angle.sin() / scale
    shear = SHEAR * rand[:, 3] / scale
    linear = torch.stack(
        [
            torch.stack([mirror * cos * stretch, mirror * (sin + shear)], dim=1),
            torch.stack([-sin, cos / stretch], dim=1),
        ],
        dim=1,
    )
    centre = 0.75 * rand[:, 4:, None]
    theta = torch.cat([linear, -linear @ centre], dim=2)
    grid = F.affine_grid(theta, [count, 4, side, side], align_corners=False)
    bends = WARP * torch.randn(count, 2, 5, 5, device=device)
    bends = F.interpolate(bends, (side, side), mode='bicubic', align_corners=True)
    grid = grid + bends.permute(0, 2, 3, 1)
    return F.grid_sample(sprites.float() / 255, grid, align_corners=False)


def _recolor(colors: Tensor, alpha: Tensor) -> Tensor:
    """Mix the channels of ``[B, 3, H, W]``, rotate hues, sometimes desaturate, and shade."""
    count, device = len(colors), colors.device
    choice = torch.rand(count, device=device)
    turn = torch.where(choice < 0.2, math.pi, 0.2) * (2 * torch.rand(count, device=device) - 1)
    mix = _rotate_hue(turn) + 0.25 * (torch.rand(count, 3, 3, device=device) - 0.5)
    mix = torch.where((choice > 0.92).view(-1, 1, 1), 0.2 * mix + 0.8 / 3, mix)
    mixed = (mix @ colors.flatten(2)).view_as(colors)
    light = torch.rand(count, 3, 1, 1, device=device) * 0.25 - 0.125
    shade = torch.rand(count, 1, 4, 4, device=device) - 0.5
    light = light + shade * 0.8 * torch.rand(count, 1, 1, 1, device=device)
    light = F.interpolate(light, colors.shape[-2:], mode='bilinear', align_corners=True)
    return (mixed + (light + _emboss(alpha)) * alpha).clamp_(min=0).minimum(alpha)


def _rotate_hue(angle: Tensor) -> Tensor:
    """Rotations of RGB about the grey axis by ``[B]`` radians, ``[B, 3, 3]``."""
    eye = torch.eye(3, device=angle.device)
    cross = (eye.roll(1, 0) - eye.roll(-1, 0)) / 3**0.5
    cos, sin = (f(angle).view(-1, 1, 1) for f in (torch.cos, torch.sin))
    return cos * eye + (1 - cos) / 3 + sin * cross


def _emboss(alpha: Tensor) -> Tensor:
    """Light and shadow ``[B, 1, H, W]`` at the borders, as if the shape ``alpha`` were a cushion.

    Direction and strength are random; one in three objects stays flat.
    """
    count, device = len(alpha), alpha.device
    height = F.avg_pool2d(alpha, 4)
    for _ in range(2):
        height = F.avg_pool2d(height, 3, 1, 1)
    angle = 2 * math.pi * torch.rand(count, 1, 1, 1, device=device)
    strength = (1.8 * torch.rand(count, 1, 1, 1, device=device) - 0.6).clamp(min=0)
    slope_x, slope_y = (height.roll(1, dim) - height.roll(-1, dim) for dim in (3, 2))
    slope = strength * (angle.cos() * slope_x + angle.sin() * slope_y)
    return F.interpolate(slope, alpha.shape[-2:], mode='bilinear', align_corners=False)


def _expose(images: Tensor) -> Tensor:
    """Change brightness and contrast, blur some images, and add noise."""
    count, device = len(images), images.device
    rand = torch.rand(4, count, 1, 1, 1, device=device)
    images = (images - 0.5) * (0.7 + 0.5 * rand[0]) + 0.4 + 0.2 * rand[1]
    blurred = F.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
    images = torch.where(rand[2] < 0.3, blurred, images)
    images = images + 0.04 * rand[3] * torch.randn_like(images)
    return images.clamp(0, 1)
