"""Transforms of Pillow images, each by the Pillow call that torchvision makes."""

import math
import random

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps


class Compose:
    """One after the other."""

    def __init__(self, transforms):
        self.transforms = transforms

    def __call__(self, image):
        for transform in self.transforms:
            image = transform(image)
        return image


class RandomApply(Compose):
    """One after the other, or none of them."""

    def __init__(self, transforms, p=0.5):
        super().__init__(transforms)
        self.p = p

    def __call__(self, image):
        return super().__call__(image) if random.random() < self.p else image


class Resize:
    """To (height, width), or the shorter side to a number of pixels."""

    def __init__(self, size, interpolation=Image.BILINEAR):
        size = tuple(size) if isinstance(size, list | tuple) else size
        self.size = size[0] if isinstance(size, tuple) and len(size) == 1 else size
        self.interpolation = interpolation

    def __call__(self, image):
        if isinstance(self.size, tuple):
            return image.resize(self.size[::-1], self.interpolation)
        width, height = image.size
        # Cut off, not rounded.
        size = (self.size, int(self.size * height / width))
        if height < width:
            size = (int(self.size * width / height), self.size)
        return image.resize(size, self.interpolation)


class CenterCrop:
    """The square in the middle."""

    def __init__(self, size):
        self.size = size

    def __call__(self, image):
        left = round((image.width - self.size) / 2)
        top = round((image.height - self.size) / 2)
        return image.crop((left, top, left + self.size, top + self.size))


class RandomResizedCrop:
    """A part of random area, place and shape, resized to a square."""

    def __init__(self, size, scale=(0.08, 1.0), interpolation=Image.BILINEAR):
        self.size, self.scale, self.interpolation = size, scale, interpolation

    def box(self, image):
        """(left, top, width, height) in pixels."""
        logarithm = math.log(4 / 3)
        for _ in range(10):
            area = image.width * image.height * random.uniform(*self.scale)
            aspect = math.exp(random.uniform(-logarithm, logarithm))
            width, height = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
            if 0 < width <= image.width and 0 < height <= image.height:
                left = random.randint(0, image.width - width)
                return left, random.randint(0, image.height - height), width, height
        width = min(image.width, round(image.height * 4 / 3))
        height = min(image.height, round(image.width * 4 / 3))
        return (image.width - width) // 2, (image.height - height) // 2, width, height

    def __call__(self, image):
        left, top, width, height = self.box(image)
        part = image.crop((left, top, left + width, top + height))
        return part.resize((self.size, self.size), self.interpolation)


class RandomHorizontalFlip:
    """Mirrored, or not."""

    def __init__(self, p=0.5):
        self.p = p

    def __call__(self, image):
        if random.random() < self.p:
            return image.transpose(Image.FLIP_LEFT_RIGHT)
        return image


class RandomGrayscale:
    """Grey in three channels, or not."""

    def __init__(self, p=0.1):
        self.p = p

    def __call__(self, image):
        return (
            ImageOps.grayscale(image).convert("RGB")
            if random.random() < self.p
            else image
        )


def shift_hue(image, share):
    """Turns the hue by a share of the circle, in whole steps of 8 bits."""
    hue, *others = image.convert("HSV").split()
    turned = np.array(hue) + np.array(int(share * 255)).astype(np.uint8)
    hue = Image.fromarray(turned.astype(np.uint8), "L")
    return Image.merge("HSV", (hue, *others)).convert("RGB")


class ColorJitter:
    """Brightness, contrast, saturation and hue by random factors, in random order."""

    def __init__(self, brightness=0, contrast=0, saturation=0, hue=0):
        kinds = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
        self.kinds = list(zip(kinds, (brightness, contrast, saturation), strict=True))
        self.hue = hue

    def __call__(self, image):
        changes = [
            lambda x, kind=kind, by=by: kind(x).enhance(
                random.uniform(max(0, 1 - by), 1 + by)
            )
            for kind, by in self.kinds
        ]
        changes.append(lambda x: shift_hue(x, random.uniform(-self.hue, self.hue)))
        random.shuffle(changes)
        for change in changes:
            image = change(image)
        return image


class ToTensor:
    """Float (3, H, W) in 0 to 1."""

    def __call__(self, image):
        pixels = torch.from_numpy(np.array(image, np.uint8, copy=True))
        return pixels.permute(2, 0, 1).contiguous().to(torch.float32).div(255)


class Normalize:
    """Less the mean, by the standard deviation of each channel."""

    def __init__(self, mean, std):
        self.mean = torch.tensor(mean)[:, None, None]
        self.std = torch.tensor(std)[:, None, None]

    def __call__(self, tensor):
        return tensor.sub(self.mean).div_(self.std)
