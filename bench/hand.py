"""Training as one writes it by hand in PyTorch: what reslab's is measured against."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext

import keras
import torch
import twins
from cases import DECAY, MEAN, MOMENTUM, PAD, RATE, STD, Case, images, scaled
from torch import Tensor
from torch.nn import functional as F

from reslab.acceleration.torch_memory import keep_freed_memory


class Loop:
    """A twin with a file's weights, SGD with momentum, and what it trains on, on the device.

    `layout` is last or first, or compiled (by torch.compile; then it is last). With `augments` each
    image is cropped and mirrored as drawn for it, kernels decay, and an epoch ends with a
    checkpoint.
    """

    def __init__(self, case: Case, file: str, layout: str, augments: bool) -> None:
        keep_freed_memory()  # as reslab does; no part of what is compared
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.order = torch.contiguous_format if layout == "first" else torch.channels_last
        self.batch, self.augments = case.batch, augments
        module = twins.twin(case.name, case.classes)
        twins.load(case.name, module, keras.saving.load_model(file))
        self.module = module.to(self.device, memory_format=self.order).train()
        self.run = torch.compile(self.module) if layout == "compiled" else self.module
        parameters = list(self.module.parameters())
        kernels = [p for p in parameters if p.dim() > 1]
        others = [p for p in parameters if p.dim() == 1]
        self.optimizer = torch.optim.SGD(
            [{"params": kernels, "weight_decay": DECAY if augments else 0.0}, {"params": others}],
            lr=RATE,
            momentum=MOMENTUM,
            fused=True,
        )
        x, y = images(case)
        self.labels = torch.from_numpy(y).long().to(self.device)
        pixels = torch.from_numpy(x if augments else scaled(x)).permute(0, 3, 1, 2)
        self.pixels = pixels.to(self.device).contiguous(memory_format=self.order)
        mixed = case.precision == "mixed"
        self.half = torch.autocast(self.device.type, torch.bfloat16) if mixed else nullcontext()

    def step(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, and the share of the images that were right."""
        self.optimizer.zero_grad(set_to_none=True)
        with self.half:
            logits = self.run(inputs)
            loss = F.cross_entropy(logits, targets)
        loss.backward()
        self.optimizer.step()
        return loss.detach(), (logits.argmax(1) == targets).float().mean()

    def first(self) -> float:
        """The loss of a step on the first images."""
        return self.step(self.pixels[: self.batch], self.labels[: self.batch])[0].item()

    def epoch(self) -> tuple[float, float]:
        device = self.device
        total, right = torch.zeros(2, device=device)  # a GPU is asked for them once an epoch
        for drawn in torch.randperm(len(self.labels), device=device).split(self.batch):
            inputs = self._augmented(drawn) if self.augments else self.pixels[drawn]
            loss, correct = self.step(inputs, self.labels[drawn])
            total, right = total + loss, right + correct
        if self.augments:
            state = {"model": self.module.state_dict(), "sgd": self.optimizer.state_dict()}
            with tempfile.TemporaryFile() as kept:
                torch.save(state, kept)
        return total.item(), right.item()

    def _augmented(self, drawn: Tensor) -> Tensor:
        """A crop at a place of each image's own, and every second one mirrored."""
        n, device = len(drawn), self.device
        rows, columns = (torch.arange(side, device=device) for side in self.pixels.shape[2:])
        chosen = F.pad((self.pixels[drawn].float() - MEAN) / STD, (PAD, PAD, PAD, PAD))
        down, across = torch.randint(0, 2 * PAD + 1, (2, n), device=device)
        mirrored = torch.rand(n, device=device) < 0.5
        i = down[:, None] + rows
        j = across[:, None] + torch.where(mirrored[:, None], columns.flip(0), columns)
        cropped = chosen.permute(0, 2, 3, 1)[
            torch.arange(n, device=device)[:, None, None], i[:, :, None], j[:, None, :]
        ]
        return cropped.permute(0, 3, 1, 2).contiguous(memory_format=self.order)
