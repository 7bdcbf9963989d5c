"""Learn while reading, without going back: an unbiased estimate of the past beside truncated backpropagation.

    python examples/online_memory.py

A chain of 23 units passes what it holds on to its end, half of it each step; one parameter pushes the 10 units nearest
to the end up and the 13 others down. Soon after a push the end rises, in the long run it falls: a window of ten steps
sees the wrong sign. The estimate is noisy and has the right sign on average. (The task is from the paper: Tallec and
Ollivier 2017, arXiv:1702.05043, influence balancing.)
"""

import torch
from torch import nn

from isotrain.train.online import Online

UNITS, NEAR, WINDOW, STEPS, RATE = 23, 10, 10, 6000, 2e-4


class Chain(nn.Module):
    """The end of the chain, and the state of all of it."""

    def __init__(self) -> None:
        super().__init__()
        self.push = nn.Parameter(torch.zeros(()))
        self.sign = torch.cat([torch.ones(NEAR), -torch.ones(UNITS - NEAR)])

    def forward(self, x: None, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        before = torch.cat([state[1:], torch.zeros(1)])
        state = (state + before) / 2 + self.push * self.sign
        return state[0], state


def learn(rank_one: bool) -> tuple[float, float]:
    net = Chain()
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda window: (1 + window * WINDOW / 500) ** -0.5)
    online = Online(net, torch.zeros(UNITS), rank_one=rank_one, seed=0)
    loss = torch.zeros(())
    for _ in range(STEPS // WINDOW):
        loss = torch.stack([(online(None) - 1).square() / 2 for _ in range(WINDOW)]).mean()
        optimizer.zero_grad()
        online.backward(loss)
        optimizer.step()
        schedule.step()
    return loss.item(), net.push.item()


for name, rank_one in (("truncated", False), ("rank-one ", True)):
    loss, push = learn(rank_one)
    print(f"{name} loss {loss:.4f}, push {push:+.3f} (best: -0.167)")
