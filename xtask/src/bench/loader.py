"""The torchvision side of `cargo xtask bench loader --vs-python`: ImageFolder and DataLoader with two workers.

    python loader.py FOLDER          one pass, a line of JSON
    python loader.py --scaled FOLDER how far a JPEG decoded at a smaller scale is from the whole one, after resizing

Needs torch, torchvision and Pillow; a build of torch for the CPU is enough.
"""

import json
import os
import resource
import sys
import time

SIDE, BATCH, WORKERS = 224, 32, 2


def one_pass(folder):
    import torch

    # A torchvision without its compiled part lacks the operation that its import asks for.
    if not hasattr(torch.ops.torchvision, "nms"):
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    transform = transforms.Compose([
        transforms.Resize((SIDE, SIDE)),
        transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ])
    data = ImageFolder(folder, transform)
    loader = torch.utils.data.DataLoader(data, batch_size=BATCH, num_workers=WORKERS)
    start = time.perf_counter()
    seen, total = 0, 0.0
    for pictures, _ in loader:
        seen += len(pictures)
        total += float(pictures[0, 0, 0, 0])
    seconds = time.perf_counter() - start
    # The main process alone: the workers share most of their pages with it.
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"pictures": seen, "seconds": seconds, "peak_bytes": kilobytes * 1024, "sum": total}))


def scaled(folder):
    from PIL import Image, ImageChops

    worst, pictures, above, values = 0, 0, 0, 0
    for root, _, names in sorted(os.walk(folder)):
        for name in sorted(names)[:200]:
            if not name.endswith(".jpg"):
                continue
            path = os.path.join(root, name)
            whole = Image.open(path)
            side = min(whole.size) // 2
            small = Image.open(path)
            small.draft("RGB", (side, side))
            if small.size == whole.size:
                continue
            size = (side, side)
            a = whole.convert("RGB").resize(size, Image.BILINEAR)
            b = small.convert("RGB").resize(size, Image.BILINEAR)
            counts = ImageChops.difference(a, b).histogram()
            for channel in range(3):
                part = counts[channel * 256 : (channel + 1) * 256]
                worst = max([worst] + [value for value, n in enumerate(part) if n])
                above += sum(part[2:])
                values += sum(part)
            pictures += 1
    print(json.dumps({"pictures": pictures, "worst": worst, "share_above_1": above / max(values, 1)}))


if __name__ == "__main__":
    scaled(sys.argv[2]) if sys.argv[1] == "--scaled" else one_pass(sys.argv[1])
