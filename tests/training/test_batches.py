"""Many films in one step, and what is kept of them between the steps."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyra.worldgen.training.clips import Clip
from lyra.worldgen.training.components import small_components
from lyra.worldgen.training.config import DataConfig, NetworkConfig, OptimConfig, TrainingConfig
from lyra.worldgen.training.footage import Footage
from lyra.worldgen.training.memo import Memo
from lyra.worldgen.training.plan import AUGMENTED, CLEAN, FROM_IMAGE, AugmentConfig, plan_step
from lyra.worldgen.training.procedural import FilmSpec
from lyra.worldgen.training.run import open_films
from lyra.worldgen.training.selfaug import Lesson, training_step, training_steps
from lyra.worldgen.training.trainer import Trainer
from lyra.worldgen.training.writer import procedural_films, write_films

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytest.importorskip("diffusers")
pytest.importorskip("embreex")

CONFIG = TrainingConfig(
    steps=4,
    batch_size=3,
    dtype="float32",
    gradient_checkpointing=False,
    data=DataConfig(frames=41, resize_width_px=32, width_px=32, height_px=32),
    network=NetworkConfig(layout="f1k1f1s1f1k1_g2", width=16, layers=1, heads=2, ffn_width=16, squeeze_width=4),
    optim=OptimConfig(lr=1e-3, trainable="all", clip_norm=1.0, warmup_steps=2),
)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    root = tmp_path_factory.mktemp("films")
    write_films(root, procedural_films(4, FilmSpec(frames=41, width_px=32, height_px=32), seed=11))
    return open_films(CONFIG, root)


@pytest.fixture
def trainer(films, tmp_path):
    return Trainer(CONFIG, small_components(CONFIG, films, tmp_path), films, tmp_path, cpu=True)


def lessons(trainer, films, kinds: list[str]) -> list[Lesson]:
    """One film of each kind, whatever step it takes to draw it."""
    text = torch.zeros(1, 1, 8)
    found = []
    for k, kind in enumerate(kinds):
        clip, layout = films.clip(k), trainer.painter.layout
        plans = (plan_step(clip, layout, AugmentConfig(), seed=k, step=s, rank=k) for s in range(100))
        found.append(Lesson(footage=Footage(clip), plan=next(p for p in plans if p.kind == kind), text=text))
    return found


def test_films_of_a_step_do_not_see_each_other(trainer, films):
    """Together they have the losses and the mean gradient that each has alone; kinds may be mixed."""
    chosen = lessons(trainer, films, [AUGMENTED, CLEAN, FROM_IMAGE, AUGMENTED])
    network = trainer.painter.network
    losses, gradients = [], []
    for lesson in chosen:
        network.zero_grad()
        alone = training_step(trainer.painter, lesson.footage, lesson.plan, text=lesson.text)
        alone.loss.backward()
        losses.append(alone.loss.item())
        gradients.append({name: p.grad.clone() for name, p in network.named_parameters()})
    network.zero_grad()
    together = training_steps(trainer.painter, chosen)
    torch.stack([x.loss for x in together]).mean().backward()
    np.testing.assert_allclose([x.loss.item() for x in together], losses, rtol=1e-4)
    assert [x.augmented is not None for x in together] == [True, False, False, True]
    for name, p in network.named_parameters():
        mean = torch.stack([each[name] for each in gradients]).mean(0)
        torch.testing.assert_close(p.grad, mean, rtol=1e-3, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


def test_places_of_a_batch_are_drawn_as_processes_would_be(trainer, films):
    """All of one kind; place k draws what process k would draw, and every film comes once before any comes again."""
    for step in range(4):
        trainer.step = step
        drawn = [trainer._lesson(k) for k in range(CONFIG.batch_size)]
        assert len({x.plan.kind for x in drawn}) == 1
        for k, lesson in enumerate(drawn):
            clip = lesson.footage.clip
            want = plan_step(clip, trainer.painter.layout, CONFIG.augment, seed=CONFIG.seed, step=step, rank=k)
            np.testing.assert_array_equal(lesson.plan.draws.noise, want.draws.noise)
            assert lesson.plan.target.number == want.target.number
    seen = [trainer._film_of(place // 3, place % 3) for place in range(8)]
    assert sorted(seen[:4]) == sorted(seen[4:]) == [0, 1, 2, 3]


def test_a_step_learns_from_all_its_films(trainer):
    """The loss that is told is the mean of the films' own losses."""
    own = [
        training_step(trainer.painter, x.footage, x.plan, text=x.text).loss.item()
        for x in (trainer._lesson(k) for k in range(CONFIG.batch_size))
    ]
    assert trainer.advance().loss == pytest.approx(np.mean(own), rel=1e-4)
    assert trainer.step == 1


def test_what_is_kept_changes_nothing(trainer, films):
    """Losses are the same bits with a memo, without one, and when everything comes from it."""
    chosen = lessons(trainer, films, [CLEAN, AUGMENTED])
    bare = dataclasses.replace(trainer.painter, memo=None)
    memo = Memo(1 << 28)
    kept = dataclasses.replace(trainer.painter, memo=memo)
    with torch.no_grad():
        want, first, second = ([x.loss.item() for x in training_steps(p, chosen)] for p in (bare, kept, kept))
    assert want == first == second
    assert 0 < memo.held_bytes < 1 << 24


def test_a_film_of_the_same_name_is_another_film(trainer, films):
    """Nothing of one film is taken for another's, whatever it is called."""
    lesson = lessons(trainer, films, [CLEAN])[0]
    clip: Clip = lesson.footage.clip
    dark = dataclasses.replace(clip, rgb_u8=clip.rgb_u8 // 2)
    with torch.no_grad():
        training_steps(trainer.painter, [lesson])
        got = training_steps(trainer.painter, [dataclasses.replace(lesson, footage=Footage(dark))])[0]
        bare = dataclasses.replace(trainer.painter, memo=None)
        want = training_steps(bare, [dataclasses.replace(lesson, footage=Footage(dark))])[0]
    assert torch.equal(got.target, want.target) and torch.equal(got.inputs.cond, want.inputs.cond)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40)), max_size=40), st.integers(1, 100))
def test_a_memo_never_holds_more_than_it_may(asked, room):
    """What does not fit is made again; what was asked for last stays."""
    memo, sizes = Memo(room), {}
    for key, size in asked:
        size = sizes.setdefault(key, size)
        value = memo.get(key, lambda size=size: np.zeros(size, np.uint8))
        assert len(value) == size and memo.held_bytes <= room
        if size <= room:
            assert memo.get(key, lambda: pytest.fail("it was asked for a moment ago")) is value


def test_a_memo_counts_what_is_inside():
    """Arrays, tensors, and those in tuples and records."""
    memo = Memo(1000)
    memo.get("a", lambda: (np.zeros(3, np.uint8), torch.zeros(2)))
    assert memo.held_bytes == 11 and len(memo) == 1
    memo.get("b", lambda: Lesson(footage=None, plan=None, text=torch.zeros(5)))  # pyright: ignore
    assert memo.held_bytes == 31 and len(memo) == 2
