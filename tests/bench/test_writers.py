"""The benchmark's writers while the system refuses: each write, open, fsync, rename and mkdir of them fails in turn."""

from __future__ import annotations

from pathlib import Path

from deeptrace.bench.judge import GradingItem, grade
from deeptrace.bench.judge.humans import read_sheet, write_sheet
from deeptrace.bench.report import ReportMaterial, write_report
from deeptrace.bench.run.runner import run
from deeptrace.bench.run.verdicts import read_verdicts, write_verdicts
from deeptrace.bench.score.blind_rows import blind_rows
from deeptrace.bench.score.raw_probabilities import raw_probabilities
from deeptrace.bench.score.score import score
from deeptrace.chat import ChatClient
from deeptrace.measures.calibration import Calibration, fit_calibration, read_calibration, write_calibration
from deeptrace.records import Origin, Verdict
from tests.bench.counting import CountingModel, made_records
from tests.failing_os import EVERY_CALL, attack
from tests.fault_server import FaultServer, ok

from .world import dataset, records

MOST = 10_000 if EVERY_CALL else 3
CALIBRATION = Calibration("m", "r", "val", "original", 1.0, 0.0, 4)


def test_a_run(tmp_path: Path) -> None:
    """What was asked and kept stays; run again, it ends with every video."""
    known = made_records(3)

    def flow(folder: Path) -> None:
        run(CountingModel(tmp_path / "calls"), known, tmp_path, folder / "run")

    def done(folder: Path) -> None:
        assert [o.origin.video_id for o in read_verdicts(folder / "run")] == [r.video_id for r in known]

    attack(tmp_path / "w", flow, done=done, most=MOST)


def test_grades_of_a_judge(tmp_path: Path) -> None:
    items = [GradingItem("a", 0, "It melts.", "It bends.")]
    with FaultServer(default=ok("1")) as server, ChatClient(server.url, "judge", api_key="k") as client:

        def flow(folder: Path) -> None:
            grade(items, client, folder / "judge")

        def done(folder: Path) -> None:
            assert '"grade": 1.0' in (folder / "judge" / "judgements.jsonl").read_text()

        attack(tmp_path / "w", flow, done=done, most=MOST)


def test_a_report(tmp_path: Path) -> None:
    of = dataset()
    blind, _ = blind_rows(of, records())
    found = score(blind[:1], of, blind, replicates=0, permutations=0)

    def flow(folder: Path) -> None:
        write_report(ReportMaterial(found, of, ({},)), folder / "report")

    def done(folder: Path) -> None:
        for name in ("index.html", "report.md", "scores.json"):
            assert (folder / "report" / name).stat().st_size > 500

    attack(tmp_path / "w", flow, done=done, most=MOST)


def test_a_calibration(tmp_path: Path) -> None:
    """What is learned from answers: they are read below the folder too."""
    of = dataset()
    slopes: list[float] = []
    p_fake = {record.video_id: 0.8 if record.label == "fake" else 0.3 for record in of.records}

    def verdict_of(p: float, origin: Origin) -> Verdict:
        return Verdict("fake" if p >= 0.5 else "real", p_fake=p, p_fake_raw=p, origin=origin)

    def before(folder: Path) -> None:
        origin = {name: Origin(name, model="m", revision="r") for name in p_fake}
        write_verdicts(folder, {name: verdict_of(p, origin[name]) for name, p in p_fake.items()})
        write_calibration(folder / "calibration.json", CALIBRATION)

    def flow(folder: Path) -> None:
        raw = raw_probabilities(folder, of)
        calibration = fit_calibration(
            raw.p_raw, raw.is_fake, split="val", track="original", model=raw.model, revision=raw.revision
        )
        write_calibration(folder / "calibration.json", calibration)
        slopes.append(calibration.slope)

    def kept(folder: Path) -> None:
        assert read_calibration(folder / "calibration.json").slope in (CALIBRATION.slope, slopes[0])

    attack(tmp_path / "w", flow, before=before, kept=kept, most=MOST)


def test_a_sheet_for_people_and_what_they_wrote(tmp_path: Path) -> None:
    items = [GradingItem(f"v{n}", 0, "It melts.", "It bends.") for n in range(30)]

    def flow(folder: Path) -> None:
        assert write_sheet(folder / "sheet.csv", items, 10, 0) == 10
        assert read_sheet(folder / "sheet.csv") == {}  # nobody has graded yet

    def before(folder: Path) -> None:
        (folder / "sheet.csv").write_text("video_id,row,grader,score\nv1,0,a,1\n")

    def kept(folder: Path) -> None:
        assert (folder / "sheet.csv").read_text().startswith("video_id,row,grader,score")

    attack(tmp_path / "w", flow, before=before, kept=kept, most=MOST)
