"""Reads a run of SCGS from Python: results with pandas, pictures with Pillow, weights with PyTorch.

    python docs/examples/read_run.py runs/habitat/<config-hash>

What the files hold is documented in docs/reference/files.md. Python 3.11, pandas and Pillow are needed; the classifier is rebuilt where PyTorch is
installed, with efficientnet-lite-pytorch or torchvision.
"""

import json
import struct
import sys
import tomllib
from pathlib import Path

import pandas as pd
from PIL import Image

SCHEMA = 1


def results(run: Path) -> pd.DataFrame:
    """One value per line; the columns are documented in docs/reference/files.md."""
    table = pd.read_csv(run / "results.csv")
    versions = set(table["schema"])
    if versions != {SCHEMA}:
        raise SystemExit(f"{run / 'results.csv'} has the schema {versions}, this example knows {SCHEMA}")
    return table


def worst_groups(table: pd.DataFrame) -> pd.DataFrame:
    """Worst-group and plain accuracy of every arm on the test split: mean and deviation over seeds."""
    test = table[(table["split"] == "test") & table["measure"].isin(["worst_group", "plain"])]
    return test.pivot_table(index="method", columns="measure", values="value", aggfunc=["mean", "std", "count"])


def new_picture(seed: Path) -> tuple[Image.Image, pd.Series]:
    """A picture that was made for training, beside the mask that says where it is new, and its line of metadata.csv."""
    made = pd.read_csv(seed / "5-synthesis" / "metadata.csv")
    row = made[made["uses"] > 0].iloc[0]
    picture = Image.open(seed / "5-synthesis" / row["img_filename"])
    mask = Image.open(seed / row["mask"])
    levels = mask.convert("L").histogram()
    white = sum(levels[128:]) / sum(levels)
    print(f"\na new picture: {row['img_filename']}, {picture.width} x {picture.height}, class {row['y']}")
    print(f"  made from picture {row['source_id']} by {row['inpainter']}; {white:.0%} of the mask is white")
    return picture, row


def header(file: Path) -> dict:
    """Names, types and shapes in a safetensors file; needs no library."""
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        tensors = json.loads(stream.read(length))
    tensors.pop("__metadata__", None)
    return tensors


def classifier(seed: Path, method: str):
    """The trained network of an arm as a module of PyTorch, ready to predict; None without PyTorch."""
    file = seed / f"6-{method}" / "model.safetensors"
    tensors = header(file)
    numbers = sum(pd.Series(t["shape"], dtype="int64").prod() for t in tensors.values())
    print(f"\nweights: {file.parent.name}/{file.name}, {len(tensors)} tensors, {numbers:,} numbers")
    try:
        from safetensors.torch import load_file
    except ImportError:
        print("  PyTorch is not installed: the network is not rebuilt")
        return None
    state = load_file(file)
    last = "_fc.weight" if "_fc.weight" in state else "fc.weight"
    classes = state[last].shape[0]
    if last == "_fc.weight":
        from efficientnet_lite_pytorch import EfficientNet

        network = EfficientNet.from_name("efficientnet-lite0", num_classes=classes, image_size=None)
    else:
        import torchvision

        # ResNet-18 has two blocks of two convolutions in its first stage, ResNet-50 three of three.
        deep = "layer1.0.conv3.weight" in state
        blocks = sum(key.startswith("layer3.") and key.endswith(".conv1.weight") for key in state)
        name = {(False, 2): "resnet18", (False, 6): "resnet34", (True, 6): "resnet50", (True, 23): "resnet101"}[deep, blocks]
        network = getattr(torchvision.models, name)(num_classes=classes)
    print(f"  {network.load_state_dict(state, strict=True)}")
    return network.eval()


def answer(network, seed: Path, picture: Image.Image) -> tuple[int, float]:
    """The network's class for a picture and its probability.

    SCGS scales pictures within 1 of 255 of Pillow, so that probabilities agree to about 0.01.
    """
    import torch

    with (seed / "config.toml").open("rb") as stream:
        backbone = tomllib.load(stream)["backbone"]
    side = backbone["input_size"]
    scaled = picture.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
    values = torch.frombuffer(bytearray(scaled.tobytes()), dtype=torch.uint8).float().view(1, side, side, 3)
    if backbone["architecture"] == "efficientnet-lite0":
        mean, deviation = torch.full((3,), 127.0), torch.full((3,), 128.0)
    else:
        mean, deviation = torch.tensor([0.485, 0.456, 0.406]) * 255, torch.tensor([0.229, 0.224, 0.225]) * 255
    with torch.inference_mode():
        probabilities = network(((values - mean) / deviation).permute(0, 3, 1, 2)).softmax(1)[0]
    best = int(probabilities.argmax())
    return best, float(probabilities[best])


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    run = Path(sys.argv[1])
    table = results(run)
    print(worst_groups(table).round(3).to_string(), "\n")
    worst = table[(table["split"] == "test") & (table["measure"] == "worst_group")]
    for method, values in worst.groupby("method")["value"]:
        print(f"{method}: worst group {values.mean():.3f} over {len(values)} seeds")
    accuracy = table[table["measure"] == "accuracy"]
    print("\n", accuracy.pivot_table(index="method", columns="group", values="value").round(3).to_string())

    seed = run / f"seed-{table['seed'].min()}"
    made = new_picture(seed) if (seed / "5-synthesis" / "metadata.csv").exists() else None
    network = classifier(seed, "erm")
    if network is not None and made is not None:
        picture, row = made
        best, probability = answer(network, seed, picture)
        print(f"  PyTorch says class {best} with {probability:.4f} for the new picture,")
        print(f"  SCGS said class {row['erm_predicted']} with {row['erm_confidence']:.4f}")


if __name__ == "__main__":
    main()
