"""The page of a model on the Hugging Face hub: README.md with front matter."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from reslab import __version__
from reslab.evaluation.tasks.registry import task_of
from reslab.formats.exportable import Exportable
from reslab.plots.format import interval
from reslab.runs.run import Run

TASK = "image-classification"  # of the hub
DATASETS = {  # names of data sets on the hub
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
    "fashion-mnist": "zalando-datasets/fashion_mnist",
    "mnist": "ylecun/mnist",
}
METRICS = {  # of an evaluation: its name for people, and the metric of the hub where there is one
    "top1_error": ("Top-1 error", "error"),
    "top5_error": ("Top-5 error", "error"),
    "mean_average_precision": ("Mean average precision", "map"),
    "micro_f1": ("F1 over all labels", "f1"),
}
PUBLISHED = "hf://", "keras/", "timm/", "torchvision/"
MOST_CLASSES = 100  # that the page lists


def readme(source: Exportable, any_size: bool = True) -> str:
    """The page of a trained network, as Markdown with YAML front matter."""
    card, run = source.card, source.run
    network = card["network"]["name"]
    title = f"{network}, trained on {card['data']}"
    parts = [
        "---",
        *_yaml(_front_matter(card, run, network)),
        "---",
        "",
        f"# {title}",
        "",
        _what(source, network),
        "",
        *_results(card, run),
        *_usage(source, any_size),
        *_training(run),
    ]
    return "\n".join(parts) + "\n"


def _front_matter(card: Mapping[str, Any], run: Run | None, network: str) -> dict[str, Any]:
    data = str(card["data"])
    name = DATASETS.get(data)
    front: dict[str, Any] = {
        "library_name": "keras",
        "pipeline_tag": TASK,
        "tags": ["reslab", "keras", "onnx", TASK, network],
    }
    if name:
        front["datasets"] = [name]
    metrics = list(_metrics(run))
    if metrics:
        front["metrics"] = sorted({metric["type"] for metric in metrics})
        dataset = {"name": data, "type": name or data, "split": _split(run)}
        result = {"task": {"type": TASK}, "dataset": dataset, "metrics": metrics}
        front["model-index"] = [{"name": network, "results": [result]}]
    return front


def _evaluation(run: Run | None) -> dict[str, Any]:
    return (run.evaluation if run else None) or {}


def _split(run: Run | None) -> str:
    return str(_evaluation(run).get("split", "test"))


def _metrics(run: Run | None) -> Iterator[dict[str, Any]]:
    """The measured metrics in the form of the hub. Rates are from 0 to 1, intervals of 95 %."""
    evaluation = _evaluation(run)
    for key, (name, kind) in METRICS.items():
        rate = evaluation.get(key)
        if rate and rate["value"] is not None:
            text = f"{name} (95 % interval {interval(rate, evaluation['n'])})"
            yield {"type": kind, "name": text, "value": rate["value"]}
    if evaluation.get("accuracy") is not None:
        yield {"type": "accuracy", "name": "Accuracy", "value": evaluation["accuracy"]}


def _what(source: Exportable, network: str) -> str:
    card = source.card
    height, width, channels = card["image_shape"]
    colours = "grey" if channels == 1 else "RGB"
    classes = [str(name) for name in card["classes"]]
    names = ", ".join(_plain(name) for name in classes[:MOST_CLASSES])
    more = f" and {len(classes) - MOST_CLASSES} more" if len(classes) > MOST_CLASSES else ""
    return (
        f"`{network}` classifies {colours} images of {height} x {width} pixels into "
        f"{len(classes)} classes: {names}{more}. Resizing and normalisation are inside of "
        "`model.onnx`; `reslab` does them for `model.keras`."
    )


def _results(card: Mapping[str, Any], run: Run | None) -> list[str]:
    evaluation = _evaluation(run)
    if run is None or not evaluation:
        return []
    kind = task_of(run.info)
    lines = [kind.sentence(evaluation), *kind.details(evaluation)]
    return ["## Results", "", *[f"- {_plain(line)}" for line in lines], ""]


def _usage(source: Exportable, any_size: bool) -> list[str]:
    height, width, channels = source.card["image_shape"]
    mode = "L" if channels == 1 else "RGB"
    resize = "" if any_size else f".resize(({width}, {height}))"
    grey = "[..., None]" if channels == 1 else ""
    return [
        "## Use",
        "",
        "With reslab, where this repository is USER/NAME:",
        "",
        "```python",
        "import reslab",
        "",
        'reslab.predict("hf://USER/NAME", "photo.jpg")',
        f'model = reslab.create("{source.card["network"]["name"]}", weights="hf://USER/NAME")',
        "```",
        "",
        "With ONNX Runtime alone:",
        "",
        "```python",
        "import numpy as np, onnxruntime",
        "from PIL import Image, ImageOps",
        "",
        'session = onnxruntime.InferenceSession("model.onnx")',
        f'picture = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("{mode}"){resize}',
        f"images = np.asarray(picture){grey}[None]",
        '(probabilities,) = session.run(["probabilities"], {"images": images})',
        "```",
        "",
    ]


def _training(run: Run | None) -> list[str]:
    if run is None:
        return []
    info = run.info
    counts = ", ".join(f"{count:,} {part}" for part, count in info["data"]["counts"].items())
    facts = {
        "data": f"{info['data']['name']} ({counts} images)",
        "recipe": info["recipe"]["name"],
        "seed": info["seed"],
        "parameters": f"{info['params']:,}" if info.get("params") else None,
        "weights at the start": _published((info.get("weights") or {}).get("source")),
        "made with": f"reslab {__version__}, Keras {info.get('versions', {}).get('keras', '')}",
    }
    rows = [f"- {name}: {_plain(str(value))}" for name, value in facts.items() if value is not None]
    return ["## Training", "", *rows, ""]


def _published(weights: str | None) -> str | None:
    """The name of published weights. Paths on the machine of the training stay there."""
    if weights is None or weights.startswith(PUBLISHED):
        return weights
    return "a file"


def _plain(text: str) -> str:
    """Text of strangers in one line, without meaning in Markdown or HTML."""
    line = " ".join(text.split())
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|" else c for c in line)


def _yaml(value: Any, indent: str = "") -> Iterator[str]:
    """Block style, with scalars as in JSON, which YAML contains."""
    entries = value.items() if isinstance(value, Mapping) else ((None, item) for item in value)
    for key, item in entries:
        start = indent + ("-" if key is None else f"{key}:")
        if isinstance(item, Mapping | list):
            inner = list(_yaml(item, f"{indent}  "))
            if key is None:  # the first entry stands behind the dash
                yield f"{start} {inner[0].lstrip()}"
                yield from inner[1:]
            else:
                yield start
                yield from inner
        else:
            yield f"{start} {json.dumps(item, ensure_ascii=False)}"
