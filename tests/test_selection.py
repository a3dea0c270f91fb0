import torch

from headscript.selection import Choice, choose_among, choose_programs

TABLE = torch.tensor(
    [
        [0.50, 0.90, 0.301],
        [0.70, 0.60, 0.20],
        [0.10, 0.80, 0.30],
    ]
)


def test_the_best_program_of_all_is_chosen_and_the_intended_one_told():
    first, second, third = choose_programs(TABLE, [0, 1, 2], margin=0.0)
    assert (first.program, second.program, third.program) == (1, 0, 0)
    assert first == Choice(1, float(TABLE[1, 0]), float(TABLE[0, 0]))
    assert second.iou >= second.intended_iou


def test_a_program_stays_with_its_head_when_another_is_no_better_by_the_margin():
    choices = choose_programs(TABLE, [0, 1, 2], margin=0.0015)
    assert choices[2] == Choice(2, float(TABLE[2, 2]), float(TABLE[2, 2]))
    assert choices[0].program == 1
    assert [choice.program for choice in choose_programs(TABLE, [0, 1, 2], margin=0.5)] == [0, 1, 2]


def test_programs_without_a_head_of_their_own_may_win():
    more = torch.cat([TABLE, torch.full((1, 3), 0.95)])
    assert [choice.program for choice in choose_programs(more, [0, 1, 2], margin=0.001)] == [3] * 3


def test_a_program_that_failed_is_not_kept():
    failed = TABLE.clone()
    failed[2] = 0
    assert choose_programs(failed, [0, 1, 2], margin=0.0015)[2].program == 0


def test_of_many_programs_the_one_worth_its_terms_is_chosen():
    table = torch.tensor([[0.50, 0.10], [0.51, 0.10], [0.20, 0.60], [0.515, 0.62]])
    choices = choose_among(table, [0, 0, 1, 1], [2, 12, 3, 4], price=0.002)
    # The ten further terms of the first head's second program cost more than they gain, and the
    # other head's last one gains more than it costs; for its own head too.
    assert choices == [(3, 0), (3, 3)]
    assert choose_among(table, [0, 0, 1, 1], [2, 12, 3, 6], price=0.01)[0] == (0, 0)


def test_a_head_without_a_program_of_its_own_takes_the_best_of_all():
    table = torch.tensor([[0.5, 0.4], [0.3, 0.45]])
    assert choose_among(table, [0, 0], [1, 1], price=0.001) == [(0, 0), (1, 1)]


def test_where_there_is_no_program_there_is_no_choice():
    assert choose_among(torch.zeros(0, 2), [], [], price=0.001) == [None, None]
