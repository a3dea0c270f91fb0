import torch

from headscript.selection import Choice, choose_programs

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
