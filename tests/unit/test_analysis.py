"""Detectors, fed with transfers made by hand."""

import gc
import tracemalloc
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from agent.bank import detectors as detecting
from agent.bank.detectors import Bursts, Detector, Finding, Outliers, RoundTrips, UnderThreshold, detectors
from agent.bank.ledger import HOUSE, Transfer

START = datetime(2026, 1, 1, tzinfo=UTC)
Row = tuple[float, str, str, int]


def everything(finding: Finding) -> bool:
    return True


def transfers(rows: Sequence[Row], *, reverses: str | None = None) -> list[Transfer]:
    """Make transfers of rows: hours since the start, from, to, dollars."""
    return [
        Transfer(f"T-{n}", n, source, target, dollars * 100, None, START + timedelta(hours=hours), None, None, reverses)
        for n, (hours, source, target, dollars) in enumerate(sorted(rows), start=1)
    ]


def found(detector: Detector, fed: Sequence[Transfer]) -> list[Finding]:
    for transfer in fed:
        detector.feed(transfer)
    return detector.findings().kept


def habit(account: str = "A", dollars: int = 40, count: int = 20) -> list[Row]:
    return [(24.0 * n, account, "P", dollars + n) for n in range(count)]


def test_an_amount_far_above_the_habit_is_an_outlier() -> None:
    (finding,) = found(Outliers(everything), transfers([*habit(), (999, "A", "Q", 9_000)]))

    assert finding.transfer_ids == ("T-21",)
    assert finding.sentence == "A paid $9,000.00 to Q in T-21, 180 times its usual $50.00."


def test_a_large_amount_is_no_outlier_for_who_always_pays_such() -> None:
    assert found(Outliers(everything), transfers([*habit(dollars=8_000), (999, "A", "Q", 9_000)])) == []


def test_an_account_without_a_habit_has_no_outliers() -> None:
    assert found(Outliers(everything), transfers([*habit(count=11), (999, "A", "Q", 9_000)])) == []


def test_eight_transfers_within_an_hour_are_one_burst_however_long_it_goes_on() -> None:
    (finding,) = found(Bursts(everything), transfers([(n / 10, "A", "P", 5) for n in range(30)]))

    assert (finding.count, finding.amount_minor) == (30, 150_00)
    assert finding.sentence == "A made 30 transfers in 174 minutes from 2026-01-01 00:00, $150.00 in all."


def test_two_bursts_apart_are_two_findings() -> None:
    rows = [(n / 10, "A", "P", 5) for n in range(8)] + [(50 + n / 10, "A", "P", 5) for n in range(9)]

    assert [finding.count for finding in found(Bursts(everything), transfers(rows))] == [8, 9]


def test_seven_transfers_within_an_hour_are_no_burst() -> None:
    assert found(Bursts(everything), transfers([(n / 10, "A", "P", 5) for n in range(7)])) == []


def test_four_amounts_just_under_a_thousand_within_days_are_found() -> None:
    (finding,) = found(UnderThreshold(everything), transfers([(24.0 * n, "A", f"P{n}", 950 + n) for n in range(4)]))

    assert finding.transfer_ids == ("T-1", "T-2", "T-3", "T-4")


@pytest.mark.parametrize("dollars", [899, 1_000])
def test_other_amounts_are_not_just_under_a_thousand(dollars: int) -> None:
    assert found(UnderThreshold(everything), transfers([(24.0 * n, "A", "P", dollars) for n in range(9)])) == []


def test_a_monthly_rent_just_under_a_thousand_is_not_found() -> None:
    assert found(UnderThreshold(everything), transfers([(720.0 * n, "A", "P", 950) for n in range(12)])) == []


def test_money_that_comes_back_over_others_is_a_round_trip() -> None:
    rows: list[Row] = [(0, "A", "B", 5_000), (5, "B", "C", 4_950), (9, "X", "Y", 5_000), (12, "C", "A", 4_900)]

    (finding,) = found(RoundTrips(everything), transfers(rows))

    assert finding.transfer_ids == ("T-1", "T-2", "T-4")
    assert finding.accounts == ("A", "B", "C")
    assert finding.sentence.endswith("$4,900.00 came back by 2026-01-01 12:00: A → B → C → A.")


def test_one_return_closes_one_round_trip() -> None:
    rows: list[Row] = [(0, "A", "B", 5_000), (1, "A", "B", 5_000), (2, "B", "A", 5_000)]

    assert [f.transfer_ids for f in found(RoundTrips(everything), transfers(rows))] == [("T-1", "T-3")]


@pytest.mark.parametrize(
    "rows",
    [
        [(0, "A", "B", 5_000), (49, "B", "A", 5_000)],  # too late
        [(0, "A", "B", 5_000), (9, "B", "A", 4_000)],  # too little
        [(0, "A", "B", 5_000), (9, "C", "A", 5_000)],  # from elsewhere
        [(0, "A", "B", 900), (9, "B", "A", 900)],  # too small to matter
    ],
)
def test_what_does_not_come_back_is_no_round_trip(rows: list[Row]) -> None:
    assert found(RoundTrips(everything), transfers(rows)) == []


def test_what_the_bank_pays_and_what_undoes_a_transfer_is_no_oddity() -> None:
    rows: list[Row] = [(n / 10, HOUSE, "A", 950) for n in range(20)]
    back: list[Row] = [(n / 10, "A", "B", 950) for n in range(20)]

    for detector in detectors():
        assert found(detector, transfers(rows)) == []
        assert found(detector, transfers(back, reverses="T-0")) == []


def test_findings_beyond_the_limit_are_counted_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detecting, "_FINDINGS", 3)
    detector = Outliers(everything)

    found(detector, transfers([*habit(), *((999.0 + n, "A", "Q", 9_000) for n in range(5))]))

    assert (len(detector.findings().kept), detector.findings().total) == (3, 5)


def test_memory_does_not_grow_with_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times the transfers, odd in every way: of ever new accounts, and of one that never rests."""
    monkeypatch.setattr(detecting, "_ACCOUNTS", 50)
    monkeypatch.setattr(detecting, "_FINDINGS", 50)
    fed = detectors()

    def feed(first: int, last: int) -> int:
        for n in range(first, last):
            account, other = ("busy" if n % 80 < 40 else f"A{n // 80}"), f"A{n // 80}-{n % 2}"
            source, target = (account, other) if n % 4 < 2 else (other, account)
            dollars = 1_000_000 if n % 40 > 35 else 950 + n % 40
            at = START + timedelta(milliseconds=n)
            for detector in fed:
                detector.feed(Transfer(f"T-{n}", n, source, target, dollars * 100, None, at, None, None, None))
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    short = feed(0, 5_000)
    long = feed(5_000, 20_000)
    tracemalloc.stop()

    assert all(detector.findings().total > 50 for detector in fed)
    assert long < 1.2 * short


def test_a_forgotten_account_does_not_take_its_finding_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detecting, "_ACCOUNTS", 2)
    rows = [(n / 10, "A", "P", 5) for n in range(8)] + [(100.0 + n, f"B{n}", "P", 5) for n in range(5)]

    (finding,) = found(Bursts(everything), transfers(rows))

    assert finding.account_id == "A"


def test_findings_can_be_limited_to_what_concerns_somebody() -> None:
    rows = [*habit("A"), *habit("B"), (999.0, "A", "Q", 9_000), (999.0, "B", "R", 9_000)]

    assert [f.accounts for f in found(Outliers(lambda f: "R" in f.accounts), transfers(rows))] == [("B", "R")]
