"""A learning-rate schedule, and a run that is stopped, saved and resumed bit for bit.

    python examples/schedule_and_resume.py

With the natural step length a group's `lr` is a multiplier that starts at 1, so every scheduler works.
"""

import copy
import io

import torch
from torch import nn
from torch.nn import functional as F

import isotrain

torch.manual_seed(0)
torch.set_num_threads(1)
x = torch.rand(400, 8)
y = (x[:, 0] > x[:, 1]).long() + (x[:, 2] > x[:, 3]).long()
start = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))


class Run:
    """A model with its optimizer and schedule."""

    def __init__(self) -> None:
        self.model = copy.deepcopy(start)
        self.optimizer = isotrain.Riemannian(self.model)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=60)

    def go(self, first: int, last: int) -> None:
        for step in range(first, last):
            batch = slice(step % 4 * 100, step % 4 * 100 + 100)
            loss = F.cross_entropy(self.model(x[batch]), y[batch])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.schedule.step()


whole = Run()
whole.go(0, 60)

stopped = Run()
stopped.go(0, 33)
file = io.BytesIO()
torch.save(
    {
        "model": stopped.model.state_dict(),
        "optimizer": stopped.optimizer.state_dict(),
        "schedule": stopped.schedule.state_dict(),
    },
    file,
)

file.seek(0)
saved = torch.load(file, weights_only=True)
resumed = Run()
resumed.model.load_state_dict(saved["model"])
resumed.optimizer.load_state_dict(saved["optimizer"])
resumed.schedule.load_state_dict(saved["schedule"])
resumed.go(33, 60)

pairs = zip(whole.model.parameters(), resumed.model.parameters(), strict=True)
same = all(torch.equal(a, b) for a, b in pairs)
print(f"multiplier at the end {whole.optimizer.param_groups[0]['lr']:.3f}")
print(f"the resumed run is {'bit for bit the same' if same else 'ANOTHER RUN'}")
