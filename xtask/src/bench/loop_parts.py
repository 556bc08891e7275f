"""Networks, attention, masks and painting of loop.py."""
import os

import cv2
import numpy as np
import torch
from compute import small_unet, torchvision_models
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional as F

torchvision_models()
from torchvision import transforms

INPUT, LOOK, BATCH, SIDE = 224, 320, 32, 64
FEATHER, STEPS = 1.5, 10


def backbone(path):
    """EfficientNet-Lite0 with its batch norms in the convolutions: stem, 16 blocks, the last convolution; pooling and
    the classifier after them."""
    from efficientnet_lite_pytorch import EfficientNet
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    net = EfficientNet.from_name("efficientnet-lite0").eval()
    net.load_state_dict(load_file(path))

    def fold(module, pairs):
        for conv, norm in pairs:
            if hasattr(module, conv):
                setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
                setattr(module, norm, torch.nn.Identity())

    fold(net, [("_conv_stem", "_bn0"), ("_conv_head", "_bn1")])
    for block in net._blocks:
        fold(block, [("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")])
        block._swish = torch.nn.ReLU6(inplace=True)
    part = lambda conv: torch.nn.Sequential(conv, torch.nn.ReLU6())
    steps = torch.nn.Sequential(part(net._conv_stem), *net._blocks, part(net._conv_head))
    # For depthwise convolutions oneDNN is about twice as fast with the channels last.
    return steps.requires_grad_(False).to(memory_format=torch.channels_last)


def prepare(side):
    scale = transforms.Normalize([127 / 255] * 3, [128 / 255] * 3)
    return transforms.Compose([transforms.Resize((side, side)), transforms.ToTensor(), scale])


class Files(torch.utils.data.Dataset):
    def __init__(self, paths, side):
        self.paths, self.transform = paths, prepare(side)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        return self.transform(Image.open(self.paths[i]).convert("RGB"))


def batches(paths, side=INPUT, size=BATCH):
    workers = min(2, os.cpu_count() or 1)
    return torch.utils.data.DataLoader(Files(paths, side), batch_size=size, num_workers=workers)


def features(net, paths):
    """The mean of the last map, and the mean of its half with the least activation."""
    pooled, background = [], []
    with torch.inference_mode():
        for x in batches(paths):
            maps = net(x.contiguous(memory_format=torch.channels_last)).flatten(2)
            quiet = maps.square().sum(1).argsort(1)[:, : (maps.shape[2] + 1) // 2]
            chosen = maps.gather(2, quiet[:, None].expand(-1, maps.shape[1], -1))
            pooled.append(maps.mean(2))
            background.append(chosen.mean(2))
    return torch.cat(pooled).numpy(), torch.cat(background).numpy()


def classifier(net, weight, bias):
    linear = torch.nn.Linear(weight.shape[1], len(weight))
    linear.weight.data, linear.bias.data = torch.tensor(weight), torch.tensor(bias)
    model = torch.nn.Sequential(*net, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), linear)
    # Gradients are asked for from the earlier of the two layers on, no further back.
    model.requires_grad_(False)[11]._project_conv.bias.requires_grad_()
    return model.eval()


def look(model, paths, labels):
    """LayerCAM of the labels at the 11th block and the last convolution, at the size of the pictures."""
    from pytorch_grad_cam import LayerCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    found = []
    with LayerCAM(model=model, target_layers=[model[17], model[11]]) as cam:
        done = 0
        for x in batches(paths, LOOK, 16):
            targets = [ClassifierOutputTarget(int(label)) for label in labels[done : done + len(x)]]
            found += list(cam(input_tensor=x.contiguous(memory_format=torch.channels_last), targets=targets))
            done += len(x)
    return [cv2.resize(map_, Image.open(path).size) for map_, path in zip(found, paths)]


def region(attention, picture):
    """GrabCut, started from quantiles of the attention."""
    background, probable, sure = np.quantile(attention, [0.4, 0.75, 0.97])
    seeds = np.full(attention.shape, cv2.GC_PR_BGD, np.uint8)
    seeds[attention < background] = cv2.GC_BGD
    seeds[attention > probable] = cv2.GC_PR_FGD
    seeds[attention > sure] = cv2.GC_FGD
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cut = cv2.grabCut(picture, seeds, None, *models, 3, cv2.GC_INIT_WITH_MASK)[0]
    object_ = (cut == cv2.GC_FGD) | (cut == cv2.GC_PR_FGD)
    return object_ if object_.any() else attention > probable


def random_box(shape, count, rng):
    height, width = shape
    columns = int(np.clip(round((count * 2 ** rng.uniform(-1, 1)) ** 0.5), max(-(-count // height), 1), width))
    rows = -(-count // columns)
    left, top = rng.integers(0, width - columns, endpoint=True), rng.integers(0, height - rows, endpoint=True)
    mask = np.zeros(shape, bool)
    at = np.arange(count)
    mask[top + at // columns, left + at % columns] = True
    return mask


def painter(path):
    """The small diffusion model of crates/scgs-diffusion."""
    net, weights = small_unet(), {}
    names = {"query_key_value": "qkv", "gamma": "weight", "beta": "bias"}
    for name, value in load_file(path).items():
        parts = ["classes", "weight"] if name == "class" else [names.get(part, part) for part in name.split(".")]
        # Its linear layers are stored as [inputs, outputs].
        linear = value.dim() == 2 and name != "class"
        weights[".".join(parts)] = value.T.contiguous() if linear else value
    net.load_state_dict(weights)
    return net.eval()


def extent(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1


def window(mask):
    left, top, across, down = extent(mask)
    side = max(int(np.ceil(max(across, down) * 1.4)), SIDE)

    def place(start, size, length):
        wanted = min(side, length)
        return min(max(start + size // 2 - wanted // 2, 0), length - wanted), wanted

    (x, w), (y, h) = place(left, across, mask.shape[1]), place(top, down, mask.shape[0])
    return x, y, w, h


def shrunk(mask):
    """On where any of the pixels under it is, with one pixel around."""
    height, width = mask.shape
    if (height, width) != (SIDE, SIDE):
        mask = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8))
    mask = torch.from_numpy(mask.astype(np.float32))[None, None]
    return F.adaptive_max_pool2d(mask, SIDE)[0, 0] > 0


def denoise(net, known, masks, generator):
    """Ten steps of DDIM from noise, for all pictures together."""
    known, flags = F.pixel_unshuffle(known, 2), F.pixel_unshuffle(masks[:, None].float(), 2)
    inside = flags.repeat(1, 3, 1, 1)
    x = torch.randn(known.shape, generator=generator)
    classes = torch.zeros(len(x), dtype=torch.long)
    for step in range(STEPS, 0, -1):
        times = torch.full((len(x),), step / STEPS)
        v = net(torch.cat([x * inside, flags, known * (1 - inside)], 1), times, classes)
        now, then = step / STEPS * np.pi / 2, (step - 1) / STEPS * np.pi / 2
        signal, noise = (0.0, 1.0) if step == STEPS else (np.cos(now), np.sin(now))
        picture = (signal * x - noise * v).clamp(-1, 1)
        x = np.cos(then) * picture + np.sin(then) * (x - signal * picture) / noise
    return F.pixel_shuffle(x, 2)


def remove(net, pictures, masks, generator):
    """Paints background under the masks, 16 pictures at a time."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
    done = []
    for start in range(0, len(pictures), 16):
        some = pictures[start : start + 16]
        grown = [cv2.dilate(mask.astype(np.uint8), kernel) > 0 for mask in masks[start : start + 16]]
        windows = [window(mask) for mask in grown]
        cuts = [picture[y : y + h, x : x + w] for picture, (x, y, w, h) in zip(some, windows)]
        known = np.stack([np.asarray(Image.fromarray(cut).resize((SIDE, SIDE), Image.BILINEAR)) for cut in cuts])
        small = torch.stack([shrunk(mask[y : y + h, x : x + w]) for mask, (x, y, w, h) in zip(grown, windows)])
        values = torch.from_numpy(known).permute(0, 3, 1, 2) / 127.5 - 1
        with torch.inference_mode():
            painted = denoise(net, values, small, generator)
        painted = ((painted.clamp(-1, 1) + 1) * 127.5 + 0.5).to(torch.uint8).permute(0, 2, 3, 1).numpy()
        painted = np.where(small.numpy()[..., None], painted, known)
        for picture, mask, new, (x, y, w, h) in zip(some, grown, painted, windows):
            new = np.asarray(Image.fromarray(new).resize((w, h), Image.BICUBIC), np.float32)
            depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            share = np.clip((depth - 0.5) / FEATHER, 0, 1)[y : y + h, x : x + w, None]
            out = picture.copy()
            out[y : y + h, x : x + w] = out[y : y + h, x : x + w] * (1 - share) + new * share + 0.5
            done.append(out)
    return done


def cut_out(picture, mask):
    alpha = cv2.GaussianBlur(mask.astype(np.uint8) * 255, (0, 0), FEATHER)
    alpha[alpha <= 2], alpha[alpha >= 253] = 0, 255
    x, y, w, h = extent(alpha > 0)
    return picture[y : y + h, x : x + w], alpha[y : y + h, x : x + w]


def paste(canvas, cut, mask, rng):
    """The object at the place of the old one, about as large, mirrored half of the time."""
    picture, alpha = cut
    x, y, w, h = extent(mask)
    scale = max(w, h) / max(alpha.shape) * rng.uniform(0.85, 1.2)
    size = tuple(max(round(side * scale), 1) for side in alpha.shape[::-1])
    new = [np.asarray(Image.fromarray(part).resize(size, Image.BILINEAR)) for part in (picture, alpha)]
    if rng.random() < 0.5:
        new = [part[:, ::-1] for part in new]
    left, top = x + (w - size[0]) // 2, y + (h - size[1]) // 2
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + size[0], canvas.shape[1]), min(top + size[1], canvas.shape[0])
    picture, alpha = (part[y0 - top : y1 - top, x0 - left : x1 - left] for part in new)
    share = alpha[..., None] / np.float32(255)
    canvas[y0:y1, x0:x1] = canvas[y0:y1, x0:x1] * (1 - share) + picture * share + 0.5
    return canvas
