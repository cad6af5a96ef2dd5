"""From a run to the images and the network it trains, on the device where it trains."""

import torch
from torch import nn

from normbench import data, models, norms
from normbench.config import ConfigError
from normbench.data import Images
from normbench.parallel import dist
from normbench.run_checks import check_train_size
from normbench.runs import Run
from normbench.train import precision
from normbench.train.evaluate import prepare


def build(run: Run, device: torch.device) -> tuple[Images, nn.Module]:
    """The images, and the network with its norms told how long the run is.

    Raises ConfigError for what does not fit.
    """
    dtype = precision.dtype(run)
    images = data.build(run.data, seed=run.seed, batch=run.batch, device=device, dtype=dtype)
    check_train_size(run, images.train_images)
    model = build_network(run, images.image_shape[0], images.num_classes, device)
    prepare(model, run)
    steps = run.steps_per_epoch(images.train_images)
    for norm in models.norm_layers(model).values():
        norm.plan(sgd_batch=run.sgd_batch, steps_per_epoch=steps, epochs=run.recipe.epochs)
    return images, model


def build_network(run: Run, image_channels: int, num_classes: int, device: torch.device) -> nn.Module:
    """The run's network as this rank trains it, its weights drawn by the seed."""
    torch.manual_seed(run.seed)
    model = models.build(
        run.model.name,
        norm=run.norm.as_dict(),
        num_classes=num_classes,
        workers=run.workers // dist.world_size(),
        image_channels=image_channels,
        init=run.recipe.init,
        fc_std=run.recipe.fc_std,
        zero_last_gamma=run.recipe.zero_last_gamma,
        **run.model.options,
    )
    model.to(device=device, dtype=precision.dtype(run))
    if run.channels_last:
        model.to(memory_format=torch.channels_last)
    if norms.layer(run.norm.name).batch_free != run.norm.batch_free:
        raise ConfigError(f"conf/norm/{run.norm.name}.yaml: batch_free must say what the layer's class says")
    return model


def chosen_device(run: Run) -> torch.device:
    """Where the run trains; raises ConfigError where that cannot be used here."""
    name = run.device
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
