"""What the stages share that ask a model a task's questions, grade its answers and make rows of some of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aha.runs.console import Console
from aha.runs.pipeline import Context, Stage
from aha.sampling.rollouts import WeightedRewards
from aha.sampling.sampler import SamplingParams
from aha.stages import asking, engines, groups, inputs
from aha.stages.data.samples import SampledProblem, sample_parts
from aha.stages.engines import AnswerSource
from aha.tasks import row_sources
from aha.types import Problem, Reward


class AnsweringStage(
    groups.SeedSettings,
    groups.AnsweringModelSettings,
    groups.TaskSettings,
    groups.TestRowSettings,
    groups.QuestionSettings,
    groups.PromptSettings,
    groups.SamplingSettings,
    groups.DtypeSettings,
    groups.DecodingSettings,
    groups.WriteSettings,
    Stage,
):
    """A stage that makes rows of a model's graded answers."""

    def data_files(self) -> list[str]:
        """The rows that its tasks read."""
        return row_sources(self.task, self.data, self.test_data)

    def work(self) -> dict[str, float]:
        """Tokens sampled at most."""
        return {"sampled": float(self.problems * self.samples * self.max_tokens)}

    def check_inputs(self, context: Context) -> None:
        """What it is given from outside."""
        inputs.machine(context, self.dtype)
        inputs.sampled(self.model)
        inputs.task(self.task, self.data, self.test_data)

    def open_model(self, context: Context) -> AnswerSource:
        """Who answers."""
        return engines.open_source(context, self.model, self.prompt, self.dtype, self.max_num_seqs)

    def graded_answers(
        self,
        context: Context,
        console: Console,
        source: AnswerSource,
        problems: Sequence[Problem],
        params: SamplingParams,
        grade: Reward,
    ) -> Iterator[SampledProblem]:
        """``samples`` answers to each of ``problems`` with their grade ``accuracy``; those that are in the stage's
        folder already are read. The first prompt is shown."""
        rewards: WeightedRewards = {"accuracy": (1.0, grade)}
        asking.show(console, source.prompter, problems, asking.name_of(self.model))
        tick = console.counter(len(problems) * self.samples * params.max_tokens, "sampling")
        return sample_parts(
            context.folder / "rollouts", source, problems, self.samples, params, rewards,
            seed=self.seed, part=self.write_every, tick=tick,
        )  # fmt: skip
