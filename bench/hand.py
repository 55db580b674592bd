"""Hand-written training in PyTorch, as a reference for reslab's speed."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext

import keras
import torch
import twins
from cases import DECAY, MEAN, MOMENTUM, PAD, RATE, STD, Case, images, normalise
from torch import Tensor
from torch.nn import functional as F

from reslab.acceleration.torch_memory import keep_freed_memory


class Loop:
    """A twin (`twins.py`) with the weights of a file, SGD with momentum, and images on the device.

    `layout` is last, first, or compiled (`torch.compile`, channels last). With `augments`, each
    image gets a random crop and flip, kernels get weight decay, and each epoch ends with a
    checkpoint.
    """

    def __init__(self, case: Case, file: str, layout: str, augments: bool) -> None:
        keep_freed_memory()  # as reslab does; the allocator is not compared
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
        pixels = torch.from_numpy(x if augments else normalise(x)).permute(0, 3, 1, 2)
        self.pixels = pixels.to(self.device).contiguous(memory_format=self.order)
        mixed = case.precision == "mixed"
        self.half = torch.autocast(self.device.type, torch.bfloat16) if mixed else nullcontext()

    def step(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Run one step. Returns the loss and the accuracy."""
        self.optimizer.zero_grad(set_to_none=True)
        with self.half:
            logits = self.run(inputs)
            loss = F.cross_entropy(logits, targets)
        loss.backward()
        self.optimizer.step()
        return loss.detach(), (logits.argmax(1) == targets).float().mean()

    def first(self) -> float:
        """Run a step on the first batch. Returns its loss."""
        return self.step(self.pixels[: self.batch], self.labels[: self.batch])[0].item()

    def epoch(self) -> tuple[float, float]:
        """Train one epoch. Returns the sums of the losses and accuracies of all batches."""
        device = self.device
        total, right = torch.zeros(2, device=device)  # copied from the GPU once per epoch
        for indices in torch.randperm(len(self.labels), device=device).split(self.batch):
            inputs = self._augmented(indices) if self.augments else self.pixels[indices]
            loss, correct = self.step(inputs, self.labels[indices])
            total, right = total + loss, right + correct
        if self.augments:
            state = {"model": self.module.state_dict(), "sgd": self.optimizer.state_dict()}
            with tempfile.TemporaryFile() as file:
                torch.save(state, file)
        return total.item(), right.item()

    def _augmented(self, indices: Tensor) -> Tensor:
        """Crop each image at a random position, and flip half of the images."""
        n, device = len(indices), self.device
        rows, columns = (torch.arange(side, device=device) for side in self.pixels.shape[2:])
        padded = F.pad((self.pixels[indices].float() - MEAN) / STD, (PAD, PAD, PAD, PAD))
        down, across = torch.randint(0, 2 * PAD + 1, (2, n), device=device)
        flipped = torch.rand(n, device=device) < 0.5
        i = down[:, None] + rows
        j = across[:, None] + torch.where(flipped[:, None], columns.flip(0), columns)
        cropped = padded.permute(0, 2, 3, 1)[
            torch.arange(n, device=device)[:, None, None], i[:, :, None], j[:, None, :]
        ]
        return cropped.permute(0, 3, 1, 2).contiguous(memory_format=self.order)
