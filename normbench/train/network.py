"""From a config to the network it trains, on the device where it trains."""

import torch
from torch import nn

from normbench import models, norms
from normbench.config import Config, ConfigError, resolved
from normbench.parallel import dist
from normbench.train import precision


def network(config: Config, image_channels: int, num_classes: int, device: torch.device) -> nn.Module:
    """The config's network as this rank trains it, its weights drawn by the seed."""
    torch.manual_seed(config.seed)
    model = models.build(
        config.model.name,
        norm=config.norm,
        num_classes=num_classes,
        workers=resolved(config.workers) // dist.world_size(),
        image_channels=image_channels,
        init=config.recipe.init,
        fc_std=config.recipe.fc_std,
        zero_last_gamma=config.recipe.zero_last_gamma,
        **config.model.options,
    )
    model.to(device=device, dtype=precision.dtype(config))
    if config.channels_last:
        model.to(memory_format=torch.channels_last)
    if norms.layer(config.norm["name"]).batch_free != config.norm["batch_free"]:
        raise ConfigError(f"conf/norm/{config.norm['name']}.yaml: batch_free must say what the layer's class says")
    return model


def chosen_device(config: Config) -> torch.device:
    """Where the config trains; raises ConfigError where that cannot be used here."""
    name = config.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda" and device.index is None and dist.world_size() > 1:
            device = torch.device("cuda", torch.cuda.current_device())
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as e:
        raise ConfigError(f"device={name} cannot be used here ({str(e)[:60]}...); use device=auto or cpu") from e
    return device
