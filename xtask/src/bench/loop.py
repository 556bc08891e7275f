"""`scgs run --dataset habitat` with PyTorch, pytorch-grad-cam, OpenCV, scikit-learn and Pillow: the same stages and arms
on the same composed pictures.

    python loop.py BIASED BALANCED BACKBONE INPAINTER OUT [SEED]

BIASED and BALANCED are the folders that `scgs` composed, BACKBONE and INPAINTER files of datasets/weights; masks and new
pictures are written below OUT. The last line is JSON: seconds per stage, accuracies per arm. Imports are not counted.
`cargo xtask bench loop --vs-python --python FILE` starts it. torch==2.9.0 torchvision==0.24.0 grad-cam==1.5.5
efficientnet-lite-pytorch scikit-learn safetensors.
"""
import csv
import json
import os
import pathlib
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor

# Before the first library with threads of its own is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import cv2
import numpy as np
import torch
from PIL import Image
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score, silhouette_score
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler
from torch.nn import functional as F

import loop_parts as parts

C, SHARE, SOURCES, OBJECTS, LOOKS, PER_GROUP = 0.001, 0.25, 150, 60, 12, 50


class Split:
    """Pictures of a split: paths, ids, labels, places."""

    def __init__(self, folder, rows):
        self.paths = [folder / row["img_filename"] for row in rows]
        self.masks = [folder / "masks" / f"{row['img_id']}.png" for row in rows]
        self.y = np.array([int(row["y"]) for row in rows])
        self.place = np.array([int(row["place"]) for row in rows])
        self.group = self.y * 2 + self.place

    def __len__(self):
        return len(self.y)


def read(folder):
    with open(folder / "metadata.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return [Split(folder, [row for row in rows if row["split"] == str(split)]) for split in range(3)]


class Clock:
    """Seconds per stage."""

    def __init__(self):
        self.seconds, self.last = {}, time.perf_counter()

    def stage(self, name):
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0) + now - self.last
        print(f"{name:<12} {self.seconds[name]:6.1f} s", file=sys.stderr, flush=True)
        self.last = now


def picture(path):
    return np.asarray(Image.open(path).convert("RGB"))


def pictures(paths):
    # Pillow and OpenCV let go of Python's lock while they work.
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return list(pool.map(picture, paths))


def every(function, *lists):
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return list(pool.map(function, *lists))


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), values[..., ::-1] if values.ndim == 3 else values)


class Head:
    """A logistic regression on standardised features, as weights for raw ones."""

    def __init__(self, x, y, scale, weights=None):
        fit = LogisticRegression(C=C, max_iter=2000).fit(scale.transform(x), y, weights)
        weight = fit.coef_[0] / scale.scale_
        bias = fit.intercept_[0] - weight @ scale.mean_
        self.weight = np.stack([-weight, weight]).astype(np.float32) / 2
        self.bias = np.array([-bias, bias], np.float32) / 2

    def probabilities(self, x):
        return torch.tensor(x @ self.weight.T + self.bias).softmax(1).numpy()

    def answers(self, x):
        return self.probabilities(x).argmax(1)


def mistakes(background, y, seed):
    """Training pictures that a classifier of the background, which has not seen them, gets wrong."""
    answers = np.empty_like(y)
    for fit, held in StratifiedKFold(5, shuffle=True, random_state=seed).split(background, y):
        scale = StandardScaler().fit(background[fit])
        answers[held] = Head(background[fit], y[fit], scale).answers(background[held])
    return np.flatnonzero(answers != y)


def clustered(x, y, wrong, count, rng, seed):
    """Mistakes to repeat: as many per class, within a class as many per cluster."""
    picked = []
    PCA(2).fit_transform(x[wrong])
    for label in range(2):
        rows = wrong[y[wrong] == label]
        found = KMeans(3, n_init=10, random_state=seed).fit(x[rows])
        silhouette_score(x[rows], found.labels_)
        members = [rng.permutation(rows[found.labels_ == cluster]) for cluster in range(3)]
        picked += [members[i % 3][i // 3 % len(members[i % 3])] for i in range(count)]
    return np.array(picked)


def report(y, group, probabilities, seed):
    """Accuracies per group with the measures that a run reports for every arm."""
    right = probabilities.argmax(1) == y
    groups = [right[group == g] for g in range(4)]
    roc_auc_score(y, probabilities[:, 1])
    f1_score(y, probabilities.argmax(1), average="macro")
    np.square(probabilities - np.eye(2)[y]).sum(1).mean()
    rng = np.random.default_rng(seed)
    np.percentile(rng.choice(right, (1000, len(right))).mean(1), [2.5, 97.5])
    drawn = [rng.choice(of, (1000, len(of))).mean(1) for of in groups]
    np.percentile(np.min(drawn, 0), [2.5, 97.5])
    return {"worst_group": min(of.mean() for of in groups), "plain": right.mean()}


def attention_quality(heads, maps, labels, objects):
    """Grad-CAM and Grad-CAM++ at the last layer in closed form: how much of it lies on the object."""
    near = [cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0 for mask in objects]
    objects, near = torch.tensor(np.stack(objects)), torch.tensor(np.stack(near))
    cells = maps.shape[2] * maps.shape[3]
    total = maps.sum((2, 3))
    found = []
    for head in heads:
        slope = torch.tensor(head.weight)[labels] / cells
        plus = slope.relu() * cells * slope**2 / (2 * slope**2 + total * slope**3 + 1e-6)
        row = []
        for weights in (slope, plus):
            cam = torch.einsum("nc,nchw->nhw", weights, maps).relu()
            cam = F.interpolate(cam[:, None], objects.shape[1:], mode="bilinear")[:, 0]
            row.append(((cam * objects).sum((1, 2)) / cam.sum((1, 2)).clamp_min(1e-12)).mean().item())
            if weights is slope:
                best = cam.flatten(1).argmax(1, keepdim=True)
                row.append(near.flatten(1).gather(1, best).float().mean().item())
        found.append(row)
    return found


def main():
    biased, balanced, backbone, inpainter, out = (pathlib.Path(path) for path in sys.argv[1:6])
    seed = int(sys.argv[6]) if len(sys.argv) > 6 else 0
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    clock = Clock()
    train, val, test = read(biased)
    pictures(train.paths + val.paths + test.paths)
    clock.stage("pictures")

    net = parts.backbone(backbone)
    x, background = parts.features(net, train.paths + val.paths)
    x_val, background_val = x[len(train) :], background[len(train) :]
    x, background = x[: len(train)], background[: len(train)]
    scale = StandardScaler().fit(x)
    erm = Head(x, train.y, scale)
    clock.stage("erm")

    wrong = mistakes(background, train.y, seed)
    clock.stage("errors")

    count = round(SHARE * len(train)) // 2
    repeated = clustered(x, train.y, wrong, count, rng, seed)
    for i, shown in zip(wrong, pictures([train.paths[i] for i in wrong])):
        save(out / "clusters" / f"{i}.png", shown)
    # A picture that is right and of the other class keeps its context and gets a new object.
    right = np.setdiff1d(np.arange(len(train)), wrong)
    sources = [np.sort(rng.permutation(right[train.y[right] != label])[:SOURCES]) for label in range(2)]
    becomes = np.repeat([0, 1], [len(of) for of in sources])
    sources = np.concatenate(sources)
    clock.stage("clusters")

    model = parts.classifier(net, erm.weight, erm.bias)

    def regions(chosen, name):
        paths = [train.paths[i] for i in chosen]
        shown = pictures(paths)
        maps = parts.look(model, paths, train.y[chosen])
        masks = every(parts.region, maps, shown)
        for i, mask, map_, of in zip(chosen, masks, maps, shown):
            save(out / name / f"{i}.png", mask.astype(np.uint8) * 255)
            save(out / name / f"{i}-attention.png", np.round(map_ * 255).astype(np.uint8))
            save(out / name / f"{i}-picture.png", of)
        return shown, masks

    of_sources, masks = regions(sources, "masks")
    kept = [i for i, mask in enumerate(masks) if 0.02 <= mask.mean() <= 0.98]
    donors = np.concatenate([np.sort(rng.permutation(np.flatnonzero(train.y == c))[:OBJECTS]) for c in range(2)])
    of_donors, objects = regions(donors, "objects")
    box = lambda mask: parts.random_box(mask.shape, int(mask.sum()), rng)
    random_masks, random_objects = [box(mask) for mask in masks], [box(mask) for mask in objects]
    for i, mask in zip([*sources, *donors], random_masks + random_objects):
        save(out / "random" / f"{i}.png", mask.astype(np.uint8) * 255)
    clock.stage("masks")

    paint = parts.painter(inpainter)
    picks = np.concatenate([np.resize([i for i in kept if becomes[i] == c], count) for c in range(2)])
    y_new = np.repeat([0, 1], count)

    def synthesis(name, shapes, cuts):
        old, holes = [of_sources[i] for i in picks], [shapes[i] for i in picks]
        new = parts.remove(paint, old, holes, generator)
        if cuts is not None:
            cuts = [[parts.cut_out(of_donors[d], cuts[d]) for d in np.flatnonzero(train.y[donors] == c)] for c in range(2)]
            for i, label in enumerate(y_new):
                new[i] = parts.paste(new[i], cuts[label][rng.integers(len(cuts[label]))], holes[i], rng)
        paths = [out / name / f"{n}.png" for n in range(len(new))]
        every(save, paths, new)
        made, of_context = parts.features(net, paths)
        erm.answers(made)
        for before, after, hole in zip(old, pictures(paths), holes):
            np.abs(before[hole].astype(np.int16) - after[hole]).mean()
            Image.fromarray(after).resize((16, 16), Image.BILINEAR)
        return made, of_context

    made = {
        "scgs-random-mask": synthesis("random-mask", random_masks, random_objects),
        "scgs-context-only": synthesis("context-only", masks, None),
        "scgs": synthesis("scgs", masks, objects),
    }
    clock.stage("synthesis")

    x_test, _ = parts.features(net, test.paths)
    even = read(balanced)[0]
    x_even, _ = parts.features(net, even.paths)
    ones = np.ones(len(train))
    often = ones.copy()
    often[wrong] = 20
    twice = ones + np.bincount(repeated, minlength=len(train))
    counts = np.bincount(train.group, minlength=4)

    def fit(weights, new=None):
        if new is None:
            return Head(x, train.y, scale, weights)
        weights = np.concatenate([weights, np.ones(len(y_new))])
        return Head(np.concatenate([x, made[new][0]]), np.concatenate([train.y, y_new]), scale, weights)

    heads = {
        "erm": erm,
        "duplicate": fit(twice),
        "scgs-random-mask": fit(ones, "scgs-random-mask"),
        "scgs-context-only": fit(ones, "scgs-context-only"),
        "scgs": fit(ones, "scgs"),
        "jtt": fit(often),
        "scgs+jtt": fit(often, "scgs"),
        "oracle-reweight": fit(len(train) / (4 * counts[train.group])),
        "oracle-balanced": Head(x_even, even.y, scale),
    }
    arms = {}
    for name, head in heads.items():
        (head.probabilities(x_val).argmax(1) == val.y).mean()
        arms[name] = report(test.y, test.group, head.probabilities(x_test), seed)
        torch.save(parts.classifier(net, head.weight, head.bias).state_dict(), out / f"{name}.pt")
    clock.stage("arms")

    chosen = rng.permutation(wrong)[:LOOKS]
    for name in ("erm", "scgs"):
        head = heads[name]
        head.probabilities(np.concatenate([x[sources], made["scgs"][0]]))
        looked = parts.classifier(net, head.weight, head.bias)
        for i, map_ in zip(chosen, parts.look(looked, [train.paths[i] for i in chosen], train.y[chosen])):
            save(out / "chain" / f"{i}-{name}.png", np.round(map_ * 255).astype(np.uint8))
    clock.stage("chain")

    first = np.sort(np.concatenate([np.flatnonzero(test.group == g)[:PER_GROUP] for g in range(4)]))
    with torch.inference_mode():
        maps = torch.cat([net(x) for x in parts.batches([test.paths[i] for i in first])])
        shapes = [np.asarray(Image.open(test.masks[i])) > 127 for i in first]
        attention_quality(heads.values(), maps, torch.tensor(test.y[first]), shapes)
    weights = len(train) / (4 * counts[train.group])
    probe = Head(background, train.place, StandardScaler().fit(background), weights)
    probe.answers(background_val)
    for _, of_context in made.values():
        probe.answers(of_context)
    clock.stage("diagnostics")

    for name, accuracies in arms.items():
        print(f"{name:<18} worst group {accuracies['worst_group']:.3f}, average {accuracies['plain']:.3f}", file=sys.stderr)
    learnt = arms["erm"]["plain"] > 0.8 and arms["scgs"]["worst_group"] > arms["erm"]["worst_group"]
    if not learnt:
        sys.exit("loop.py: `scgs` is no better than `erm` in the worst group, or `erm` has learnt nothing: not the same work")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    answer = {"seconds": sum(clock.seconds.values()), "stages": clock.seconds, "arms": arms, "peak_bytes": peak}
    print(json.dumps(answer, default=float))


if __name__ == "__main__":
    main()
