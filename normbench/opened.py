"""A run out of its folder: what it was, its epochs, its network, and what that says of each image.

torch is loaded where the network is asked for.
"""

import shlex
import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from normbench import class_folders, facts, recorded, records
from normbench.config import ConfigError
from normbench.runs import Run
from normbench.study.read import folders, one_run

if TYPE_CHECKING:
    from torch import Tensor, nn

    from normbench.data.prepare import Picture, Preprocess


@dataclass(frozen=True)
class OpenedRun:
    """A run on disk. Nothing here changes a file of it.

    settings: the Run that its config.yaml describes, with the device and the place of the images
    that were asked for when it was opened.
    """

    folder: Path
    config: dict[str, Any]  # config.yaml, nested as there
    settings: Run

    # ------------------------------------------------------------ its records

    @property
    def state(self) -> str:
        """done, diverged, running, cut or failed."""
        return records.state(self.folder)

    @property
    def result(self) -> dict[str, Any]:
        """result.json: status, top1_error_pct {median_last5, final}, epochs, images_seen, seconds.

        {} until the run is finished.
        """
        return records.read_object(self.folder / "result.json") if self.state in records.FINISHED else {}

    @property
    def environment(self) -> dict[str, Any]:
        """env.json: versions, commit, device and command; {} where it was removed."""
        return records.read_object(self.folder / "env.json")

    @property
    def command(self) -> str | None:
        """What was typed for it, which also continues it; None where env.json was removed."""
        words = self.environment.get("command")
        return shlex.join(map(str, words)) if isinstance(words, list) else None

    def rows(self) -> pd.DataFrame:
        """One row an epoch: epoch, images_seen, lr, train_loss, top1_error_pct, seconds, ..."""
        return pd.DataFrame(one_run.read_epochs(self.folder))

    # ------------------------------------------------------------ its network

    def model(self, unfinished: bool = False) -> "nn.Module":
        """The network with its final weights, in eval mode, as the run's evaluation had it.

        With recipe.ema these are the averaged weights. Its statistics are those of eval_stats; with
        eval_stats=batch it normalizes by mini-batches of what it is given. It takes what
        `preprocess` gives, (N, C, H, W), and answers with logits (N, classes).

        unfinished: takes the weights of the last checkpoint of a run that is not done. Raises
        ConfigError without it for such a run, and where the weights are gone or damaged.
        """
        from normbench.train import network, restore

        state = restore.read(self.settings, self.folder)
        if not unfinished:
            self._refuse_unfinished(state)
        return restore.network(self.settings, self.folder, state, network.chosen_device(self.settings))

    def preprocess(self, image: "Picture") -> "Tensor":
        """One image as the network takes it, (1, C, H, W), prepared as the test images were.

        image: a path, an Image of Pillow's, an array (H, W) or (H, W, C), a tensor (C, H, W); of
        uint8 values, or of floating-point ones from 0 to 1 at the network's size. Raises
        ConfigError for anything else.
        """
        return self._preprocess(image)

    @cached_property
    def _preprocess(self) -> "Preprocess":
        from normbench.data import prepare
        from normbench.train import network, precision

        run, pixels = self.settings, self.environment.get("pixels")
        device, dtype = network.chosen_device(run), precision.dtype(run)
        return prepare.preprocess(run.data, pixels if isinstance(pixels, dict) else {}, device, dtype)

    @cached_property
    def classes(self) -> list[str]:
        """The names of the classes, in the order of the labels; of other than folders 0, 1, ..."""
        data = self.settings.data
        if facts.of_data(data).class_folders and data.root is not None:
            return list(class_folders.found(Path(data.root).expanduser()).classes)
        return [str(label) for label in range(data.num_classes)]

    def predictions(self, unfinished: bool = False) -> pd.DataFrame:
        """What the network says of every test image, one row an image in the order of the test set.

        position: in the test set, from 0. label, predicted: class numbers; predicted is -1 where
        the network answers with NaN. probability, label_probability: the softmax of the logits at
        the predicted class and at the label.

        The share of wrong ones is the run's final top1_error_pct; a warning says so where it is
        not, as it may be on another kind of device, whose rounding is another. Raises ConfigError
        as `model` does, and where the images are not there.
        """
        from normbench import data as data_sets
        from normbench.train import answers, network, precision

        run, model = self.settings, self.model(unfinished)
        device, dtype = network.chosen_device(run), precision.dtype(run)
        images = data_sets.build(run.data, seed=run.seed, batch=run.batch, device=device, dtype=dtype)
        table = pd.DataFrame(answers.of_test_images(run, model, images))
        found, final = error_pct(table), self.result.get("top1_error_pct", {}).get("final")
        if final is not None and found != final:
            warnings.warn(f"{found:.4f} % of these answers are wrong, and the run recorded {final:.4f} %", stacklevel=2)
        return table

    def _refuse_unfinished(self, checkpoint: dict[str, Any]) -> None:
        state, epochs = self.state, self.settings.recipe.epochs
        if state == "diverged":
            raise ConfigError(
                f"{self.folder} diverged in epoch {len(records.read_rows(self.folder)) + 1} and has no final weights; "
                "unfinished=True takes those of its last finite epoch"
            )
        if state != "done":
            way = f"{self.command} finishes it, and " if self.command and state != "running" else ""
            raise ConfigError(
                f"{self.folder} is {state}, its checkpoint of epoch {checkpoint['epoch']} of {epochs}; "
                f"{way}unfinished=True takes the weights as they stand"
            )
        if (checkpoint["epoch"], checkpoint["step"]) != (epochs, 0):
            raise ConfigError(
                f"{self.folder} is done, and its checkpoint is of epoch {checkpoint['epoch']} of {epochs}; "
                "overwrite=true trains the run anew, unfinished=True takes the weights as they stand"
            )


def error_pct(predictions: pd.DataFrame) -> float:
    """The share of wrong predictions, as the run's evaluation computes it."""
    return 100.0 * int((predictions["predicted"] != predictions["label"]).sum()) / len(predictions)


def open_run(run: str | Path, runs: str | Path, root: str | Path | None, device: str | None) -> OpenedRun:
    """See normbench.open_run."""
    folder = folders.find(str(run), Path(runs))
    settings = recorded.run_in(folder)
    if root is not None:
        settings = replace(settings, data=replace(settings.data, root=str(root)))
    if device is not None:
        settings = replace(settings, device=device)
    return OpenedRun(folder, recorded.config_in(folder), settings)
