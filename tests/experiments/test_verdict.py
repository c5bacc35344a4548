from experiments.verdict import Comparison, Setting, verdict

SETTING = Setting("ABTest", 1000.0, 20_000, 100, "replication", "the BERT world")
WON = Comparison("LinUCB", 123.4, 100.0, 146.8, 0.0001)
ALSO = Comparison("UCB1", 50.0, 30.0, 70.0, 0.002)
OPEN = Comparison("Thompson", 5.0, -20.0, 30.0, 0.6)
LOST = Comparison("FixedSplit", -80.0, -95.0, -65.0, 0.0001)


def test_a_win_says_who_by_how_much_and_how_sure() -> None:
    text = verdict([ALSO, LOST, WON, OPEN], SETTING)
    assert text.startswith("LinUCB won: it earned 123 clicks more than ABTest (12.3 percent; ")
    assert "interval 100 to 147; p-value after Holm's correction below 0.001)" in text
    assert (
        "ABTest itself earned 1,000 clicks on average, in the BERT world, over 20,000 visitors in each of 100" in text
    )
    assert "UCB1 also beat it for certain." in text
    assert "Nothing is certain about Thompson against ABTest." in text
    assert "FixedSplit earned fewer clicks than ABTest for certain." in text
    assert "told apart" not in text


def test_a_tie_at_the_top_is_said() -> None:
    text = verdict([WON, ALSO], SETTING, tied_with_best=["UCB1"])
    assert "Which policy is best is not certain: UCB1 cannot be told apart from LinUCB." in text


def test_when_the_baseline_wins_it_says_so() -> None:
    nearer = Comparison("UCB1", -8.0, -12.0, -4.0, 0.01)
    text = verdict([LOST, nearer], SETTING)
    assert text.startswith("ABTest won: no bandit did.")
    assert (
        "nearest, UCB1, earned 8.0 clicks fewer than ABTest (0.8 percent; paired 95 percent interval 4.0 to 12.0"
        in text
    )


def test_when_nothing_is_certain_it_says_so() -> None:
    text = verdict([OPEN, Comparison("UCB1", -3.0, -9.0, 3.0, 0.6)], SETTING, needed=2500)
    assert text.startswith("Nothing is certain: no policy differs from ABTest beyond chance.")
    assert "Thompson, earned 5.0 clicks more than ABTest" in text
    assert "which may be luck" in text
    assert "takes about 2,500 replications" in text


def test_losers_without_winners() -> None:
    text = verdict([OPEN, LOST], SETTING)
    assert text.startswith("No policy beat ABTest for certain.")
    assert "FixedSplit earned fewer clicks than ABTest for certain." in text


def test_an_interval_that_excludes_zero_is_not_enough_after_correction() -> None:
    assert verdict([Comparison("UCB1", 5.0, 0.1, 9.9, 0.2)], SETTING).startswith("Nothing is certain")


def test_one_replication_has_no_interval_and_proves_nothing() -> None:
    nan = float("nan")
    alone = Setting("ABTest", 1000.0, 20_000, 1, "replication", "the BERT world")
    text = verdict([Comparison("UCB1", 500.0, nan, nan, nan)], alone)
    assert text.startswith("Nothing is certain: a single replication proves nothing.")
    assert "in one replication. The highest of the others, UCB1, earned 1,500." in text
    assert "nan" not in text


def test_long_lists_are_cut() -> None:
    many = [Comparison(f"P{i}", 10.0 + i, 5.0, 20.0, 0.001) for i in range(9)]
    assert "P0, P1, P2 and 5 others also beat it" in verdict(many, SETTING)
