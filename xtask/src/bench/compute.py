"""The workloads of `scgs bench` in PyTorch, pytorch-grad-cam, scikit-learn and diffusers, in the same protocol.

torch==2.9.0 torchvision==0.24.0 grad-cam==1.5.5 scikit-learn diffusers==0.35.2, on the CPU with OMP_WAIT_POLICY=PASSIVE.
`cargo xtask bench --vs-python --python FILE` starts it: one call to warm up, a call for each line of standard input, and
the peak of memory at the end.
"""
import json
import os
import resource
import sys
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

CLASSES = 1000
CHANNELS_LAST = "--channels-last" in sys.argv[2:]


def torchvision_models():
    import importlib.util
    import pathlib

    import torch

    # Where torchvision's compiled operators cannot be loaded, its models still can: none of them uses one.
    folder = pathlib.Path(importlib.util.find_spec("torchvision").origin).parent
    try:
        torch.ops.load_library(folder / "_C.so")
    except OSError:
        torchvision_models.library = torch.library.Library("torchvision", "DEF")
        torchvision_models.library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

    return torchvision.models


def laid_out(it):
    """A network or pictures in the layout that was asked for; PyTorch's own is channels first."""
    import torch

    return it.to(memory_format=torch.channels_last) if CHANNELS_LAST else it


def noise(*shape):
    import torch

    values = torch.rand(shape, generator=torch.Generator().manual_seed(7)) * 2 - 1
    return laid_out(values) if len(shape) == 4 else values


def network(name):
    from torch import nn

    if name != "efficientnet-lite0":
        return getattr(torchvision_models(), name)(num_classes=CLASSES)

    def unit(inputs, outputs, kernel, stride=1, groups=1, active=True):
        layers = [
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01),
        ]
        return nn.Sequential(*layers, *([nn.ReLU6(inplace=True)] if active else []))

    class Block(nn.Module):
        def __init__(self, kernel, stride, expansion, inputs, outputs):
            super().__init__()
            wide = inputs * expansion
            self.shortcut = stride == 1 and inputs == outputs
            self.way = nn.Sequential(
                *([unit(inputs, wide, 1)] if expansion != 1 else []),
                unit(wide, wide, kernel, stride, wide),
                unit(wide, outputs, 1, active=False),
            )

        def forward(self, x):
            return x + self.way(x) if self.shortcut else self.way(x)

    blocks = []
    for repeats, kernel, stride, expansion, inputs, outputs in [
        (1, 3, 1, 1, 32, 16), (2, 3, 2, 6, 16, 24), (2, 5, 2, 6, 24, 40), (3, 3, 2, 6, 40, 80),
        (3, 5, 1, 6, 80, 112), (4, 5, 2, 6, 112, 192), (1, 3, 1, 6, 192, 320),
    ]:
        for i in range(repeats):
            blocks.append(Block(kernel, stride if i == 0 else 1, expansion, inputs if i == 0 else outputs, outputs))
    return nn.Sequential(
        unit(3, 32, 3, 2), *blocks, unit(320, 1280, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, CLASSES)
    )


def parameters(net):
    """Weights and running statistics."""
    return sum(t.numel() for t in [*net.parameters(), *net.buffers()] if t.is_floating_point())


def training(name, pictures, side):
    import torch

    net = laid_out(network(name)).train()
    optimiser = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)
    x, labels = noise(pictures, 3, side, side), torch.arange(pictures) * 7 % CLASSES

    def call():
        optimiser.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(net(x), labels).backward()
        optimiser.step()

    return call, parameters(net)


def folded(net):
    """Batch norms into the convolutions, as a user of PyTorch would for inference."""
    from torch import fx
    from torch.fx.experimental.optimization import fuse

    return fuse(fx.symbolic_trace(net.eval()))


def inference(name, pictures, side):
    import torch

    net = network(name)
    count = parameters(net)
    net, x = laid_out(folded(net)), noise(pictures, 3, side, side)

    def call():
        with torch.inference_mode():
            net(x).sum().item()

    return call, count


def small_unet():
    """The network of crates/scgs-diffusion/src/small/unet.rs."""
    import math

    import torch
    from torch import nn
    from torch.nn import functional as F

    fine, middle, coarse, told, groups, head = 48, 96, 192, 192, 8, 64

    class Block(nn.Module):
        def __init__(self, inputs, outputs):
            super().__init__()
            self.norm, self.first = nn.GroupNorm(groups, inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
            self.told, self.second = nn.Linear(told, 2 * outputs), nn.Conv2d(outputs, outputs, 3, padding=1)
            self.bypass = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

        def forward(self, x, t):
            h = self.first(F.silu(self.norm(x)))
            scale, shift = self.told(t)[:, :, None, None].chunk(2, 1)
            h = F.silu(F.group_norm(h, groups) * (scale + 1) + shift)
            return self.second(h) + self.bypass(x)

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.qkv = nn.GroupNorm(groups, coarse), nn.Conv2d(coarse, 3 * coarse, 1)
            self.project = nn.Conv2d(coarse, coarse, 1)

        def forward(self, x):
            n, c, h, w = x.shape
            parts = self.qkv(self.norm(x)).reshape(n, 3, c // head, head, h * w).transpose(3, 4)
            mixed = F.scaled_dot_product_attention(parts[:, 0], parts[:, 1], parts[:, 2])
            return x + self.project(mixed.transpose(2, 3).reshape(n, c, h, w))

    class Unet(nn.Module):
        def __init__(self):
            super().__init__()
            conv = lambda i, o, k, s=1: nn.Conv2d(i, o, k, s, k // 2)
            self.time = nn.ModuleList([nn.Linear(64, told), nn.Linear(told, told)])
            self.classes = nn.Embedding(3, told)
            self.stem = conv(28, fine, 3)
            self.down = nn.ModuleList([Block(fine, fine), Block(middle, middle)])
            self.halve = nn.ModuleList([conv(fine, middle, 3, 2), conv(middle, coarse, 3, 2)])
            self.middle = nn.ModuleList([Block(coarse, coarse), Block(coarse, coarse)])
            self.attention = Attention()
            self.narrow = nn.ModuleList([conv(middle, fine, 1), conv(coarse, middle, 1)])
            self.up = nn.ModuleList([Block(2 * fine, fine), Block(2 * middle, middle)])
            self.norm, self.last = nn.GroupNorm(groups, fine), conv(fine, 12, 3)

        def forward(self, x, times, classes):
            angles = times[:, None] * 1000.0 ** torch.linspace(0, 1, 32)
            waves = torch.cat([angles.sin(), angles.cos()], 1)
            t = F.silu(self.time[1](F.silu(self.time[0](waves))) + self.classes(classes))
            a = self.down[0](self.stem(x), t)
            b = self.down[1](self.halve[0](a), t)
            c = self.middle[1](self.attention(self.middle[0](self.halve[1](b), t)), t)
            double = lambda y: F.interpolate(y, scale_factor=2, mode="nearest")
            up = self.up[1](torch.cat([double(self.narrow[1](c)), b], 1), t)
            up = self.up[0](torch.cat([double(self.narrow[0](up)), a], 1), t)
            return self.last(F.silu(self.norm(up)))

    return Unet()


def unet(recorded):
    import torch

    net = laid_out(small_unet())
    x, times, classes = noise(4, 28, 32, 32), torch.tensor([0.1, 0.4, 0.7, 0.9]), torch.tensor([0, 1, 2, 1])

    def training_call():
        net.zero_grad(set_to_none=True)
        net(x, times, classes).square().mean().backward()

    def inference_call():
        with torch.inference_mode():
            net(x, times, classes).sum().item()

    return (training_call if recorded else inference_call), parameters(net)


def grad_cam(layer):
    net = laid_out(network("resnet50")).eval()
    from pytorch_grad_cam import GradCAMPlusPlus

    cam = GradCAMPlusPlus(model=net, target_layers=[getattr(net, layer)[-1]])
    x = noise(16, 3, 224, 224)
    return (lambda: cam(input_tensor=x)), parameters(net)


def k_means():
    import numpy as np
    from sklearn.cluster import KMeans

    rng = np.random.default_rng(7)
    rows = rng.uniform(-2, 2, (20_000, 2048)) + rng.uniform(-1, 1, (16, 2048))[np.arange(20_000) % 16]
    rows = rows.astype(np.float32)
    return (lambda: KMeans(8, n_init=10, random_state=0).fit(rows)), 0


def sd_unet():
    import torch

    torchvision_models()
    from diffusers import UNet2DConditionModel

    net = UNet2DConditionModel(sample_size=64, in_channels=9, cross_attention_dim=768).eval()
    net = laid_out(net)
    latents, text = noise(1, 9, 64, 64), noise(1, 77, 768)

    def call():
        with torch.inference_mode():
            net(latents, 741, text).sample.sum().item()

    return call, 0


WORKLOADS = {
    "train-resnet50-16x224": lambda: training("resnet50", 16, 224),
    "train-resnet18-64x64": lambda: training("resnet18", 64, 64),
    "train-efficientnet-lite0-32x128": lambda: training("efficientnet-lite0", 32, 128),
    "train-unet-4x64": lambda: unet(True),
    "infer-resnet50-16x224": lambda: inference("resnet50", 16, 224),
    "infer-resnet18-64x64": lambda: inference("resnet18", 64, 64),
    "infer-efficientnet-lite0-32x128": lambda: inference("efficientnet-lite0", 32, 128),
    "infer-unet-4x64": lambda: unet(False),
    "gradcam++-resnet50-16x224": lambda: grad_cam("layer4"),
    "gradcam++-layer3-resnet50-16x224": lambda: grad_cam("layer3"),
    "kmeans-20000x2048": k_means,
    "sd-unet-512": sd_unet,
}


def say(value):
    print(json.dumps(value), flush=True)


def main():
    call, count = WORKLOADS[sys.argv[1]]()
    call()
    say({"ready": sys.argv[1], "parameters": count})
    for _ in sys.stdin:
        start = time.perf_counter()
        call()
        say({"seconds": time.perf_counter() - start})
    say({"peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024})


if __name__ == "__main__":
    main()
