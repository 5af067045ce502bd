"""What the table says, before it is laid out: experiments with their states and numbers, findings with verdicts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from codec_ft.errors import UserError
from codec_ft.training.config import RunConfig
from codec_ft.training.run_folder import RunFolder, run_name, run_path
from experiments.registry.card import Finding, ScaleName
from experiments.registry.catalogue import Experiment, Group, letters, read_catalogue
from experiments.registry.resolve import resolve
from experiments.registry.state import State, state_of
from experiments.results_table.claim import Claim, Verdict, decide, read_claim
from experiments.results_table.record import Record, read_record


@dataclass(frozen=True)
class Entry:
    """An experiment and what became of it; the record is there if it is finished.

    Attributes:
        experiment: which.
        config: its configuration.
        state: how far it has come.
        record: what it has found.
        elsewhere: whether the record is of a run whose folder does not lie here.
    """

    experiment: Experiment
    config: RunConfig
    state: State
    record: Record | None
    elsewhere: bool = False

    @property
    def numbers(self) -> dict[str, float] | None:
        """What was measured, of one that is finished and draws a stem out of an input."""
        return self.record.numbers if self.record else None


@dataclass(frozen=True)
class Judged:
    """A finding of the thesis and whether our numbers show it."""

    finding: Finding
    verdict: Verdict


@dataclass(frozen=True)
class Section:
    """A group of the registry with its entries and judged findings."""

    group: Group
    entries: list[Entry]
    judged: list[Judged]


def read_sections(
    experiments: Sequence[Experiment],
    overrides: Sequence[str],
    scale: ScaleName,
    records: Mapping[str, Record] | None = None,
) -> list[Section]:
    """Read what the runs of some experiments have come to, with these overrides and at this scale.

    Args:
        experiments: which; findings may need others, which are read as well.
        overrides: the `key=value` words that the runs were started with.
        scale: likewise.
        records: of runs by name, to be taken where no finished run lies here.

    Raises:
        UserError: a configuration or a claim of a card is wrong, or a run's results are damaged.
    """
    records = records or {}
    catalogue = read_catalogue()
    known = {experiment.id: experiment for group in catalogue.values() for experiment in group.experiments}
    asked = {experiment.id for experiment in experiments}
    groups = [group for group in catalogue.values() if asked & {experiment.id for experiment in group.experiments}]
    # What is left out is told where its neighbours are.
    told = {letters(group.name) for group in groups}
    left_out = [group for group in catalogue.values() if group.card and group.card.left_out]
    groups = [
        group for group in catalogue.values() if group in groups or (group in left_out and letters(group.name) in told)
    ]
    claims = {name: read_claims(group, list(known)) for name, group in catalogue.items() if group in groups}
    needed = asked | {name.experiment for of_card in claims.values() for claim in of_card for name in claim.names}
    entries = {name: _read_entry(known[name], overrides, scale, records) for name in known if name in asked}
    numbers = {name: entry.numbers for name, entry in entries.items()}
    for name in needed - asked:
        try:
            numbers[name] = _read_entry(known[name], overrides, scale, records).numbers
        except UserError:
            numbers[name] = None  # the overrides were for others, so there is no such run of it
    return [
        Section(
            group,
            [entries[experiment.id] for experiment in group.experiments if experiment.id in asked],
            [
                Judged(finding, decide(claim, numbers))
                for finding, claim in zip(group.card.findings if group.card else [], claims[group.name], strict=True)
            ],
        )
        for group in groups
    ]


def read_claims(group: Group, ids: Sequence[str]) -> list[Claim]:
    """The claims of a card's findings, in their order.

    Raises:
        UserError: one of them is wrong.
    """
    findings = group.card.findings if group.card else []
    return [read_claim(finding.shows, group.name, ids) for finding in findings]


def _read_entry(
    experiment: Experiment, overrides: Sequence[str], scale: ScaleName, records: Mapping[str, Record]
) -> Entry:
    try:
        config = resolve(experiment, overrides, scale)
    except UserError as error:
        raise UserError(f"{experiment.id}: {error}") from None
    state = state_of(config)
    if state.kind == "finished":
        file = RunFolder(run_path(config)).results
        try:
            return Entry(experiment, config, state, read_record(file, getattr(config, "input", None)))
        except ValueError:
            raise UserError(f"{file}: cannot be parsed. Remove the file and run {experiment.id} again.") from None
    if record := records.get(run_name(config)):
        return Entry(experiment, config, State("finished"), record, elsewhere=True)
    return Entry(experiment, config, state, None)
