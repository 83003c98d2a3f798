"""Training films: procedural rooms, the folder they lie in, and everything that may be wrong with one."""

from __future__ import annotations

import dataclasses
import io
import json
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("embreex")
pytest.importorskip("cv2")

from lyra.worldgen.core.errors import ConfigError, InputError
from lyra.worldgen.generation.warp import forward_warp
from lyra.worldgen.training.captions import read_caption_json, read_caption_pickle
from lyra.worldgen.training.clips import mirror_indices, one_K
from lyra.worldgen.training.dataset import CAPTION_FOLDER, LIST_NAME, FilmFolder, read_film, read_list
from lyra.worldgen.training.procedural import FREE_M, FilmSpec, ProceduralRoom, procedural_clip
from lyra.worldgen.training.writer import FORMS, write_films

SPEC = FilmSpec(frames=9, width_px=32, height_px=24)


@pytest.fixture(scope="module")
def clip():
    return procedural_clip(3, SPEC)


@pytest.fixture
def folder(clip, tmp_path):
    """A folder with one film in our own form."""
    write_films(tmp_path, [clip])
    return tmp_path


def save(path, **arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)


def test_rooms_follow_from_their_seed(clip):
    """Equal seeds give equal films, other seeds other ones."""
    again, other = procedural_clip(3, SPEC), procedural_clip(4, SPEC)
    for name in ("rgb_u8", "depth_z", "w2c", "K_px"):
        np.testing.assert_array_equal(getattr(clip, name), getattr(again, name))
    assert np.abs(clip.rgb_u8.astype(int) - other.rgb_u8).mean() > 5


def test_depth_and_poses_belong_together(clip):
    """A frame warped to another one's camera shows what that one shows."""
    late = len(clip) - 1
    image, seen, _ = forward_warp(
        clip.rgb_u8[:1].astype(float), clip.depth_z[:1], clip.w2c[:1], clip.K_px[None], clip.w2c[late], clip.K_px,
        reliable_only=False,
    )  # fmt: skip
    assert seen.mean() > 0.6
    warped = np.abs(image - clip.rgb_u8[late])[seen].mean()
    still = np.abs(clip.rgb_u8[0].astype(float) - clip.rgb_u8[late])[seen].mean()
    assert warped < 0.6 * still


@given(st.integers(0, 500))
def test_walks_keep_clear_of_everything(seed):
    """The camera never comes near walls or boxes, and moves smoothly."""
    room, spec = ProceduralRoom(seed), dataclasses.replace(SPEC, frames=40)
    Ts = room.walk(seed, spec)
    start = room.clear_of(Ts[0, :2, 3])
    assert all(room.clear_of(T[:2, 3]) > min(0.3 * start, 0.5 * FREE_M) for T in Ts)
    assert np.linalg.norm(np.diff(Ts[:, :3, 3], axis=0), axis=1).max() < 6 * spec.speed_m


def test_looping_walks_come_back_to_the_last_bit():
    """Poses and pictures repeat after a loop, which goes somewhere; few colours make other rooms."""
    looped = procedural_clip(3, dataclasses.replace(SPEC, frames=14, loop_frames=6, colours=2, plain_share=1.0))
    np.testing.assert_array_equal(looped.w2c[:8], looped.w2c[6:])
    np.testing.assert_array_equal(looped.rgb_u8[:8], looped.rgb_u8[6:])
    assert np.abs(looped.w2c[0] - looped.w2c[3]).max() > 1e-3
    for wrong in ({"colours": 1}, {"plain_share": 1.5}, {"loop_frames": -1}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            dataclasses.replace(SPEC, **wrong)


@given(st.integers(1, 12), st.integers(1, 60))
def test_short_films_play_back_and_forth(length, frames):
    """Neighbours stay neighbours and every frame exists."""
    index = mirror_indices(length, frames)
    assert len(index) == frames and index[0] == 0
    assert index.min() >= 0 and index.max() < length
    assert (np.abs(np.diff(index)) == (1 if length > 1 else 0)).all()


@pytest.mark.parametrize("form", FORMS)
def test_written_films_are_read_again(clip, tmp_path, form):
    """Ours bit for bit; the released form within MPEG-4 and half precision."""
    assert write_films(tmp_path, [clip], form=form) == [clip.video_id]
    film = read_film(tmp_path, clip.video_id, frames=100)
    assert film.captions[0].text == clip.captions[0].text
    np.testing.assert_allclose(film.w2c, clip.w2c, atol=1e-6)
    np.testing.assert_array_equal(film.K_px, clip.K_px)
    if form == "exact":
        np.testing.assert_array_equal(film.rgb_u8, clip.rgb_u8)
        np.testing.assert_array_equal(film.depth_z, clip.depth_z)
    else:
        assert np.abs(film.rgb_u8.astype(int) - clip.rgb_u8).mean() < 12
        np.testing.assert_allclose(film.depth_z, clip.depth_z, rtol=1e-3)


def test_films_are_resized_cropped_and_lengthened(folder, clip):
    """Intrinsics follow the picture, the middle stays the middle, frames come back mirrored."""
    film = FilmFolder(folder, frames=20, resize_hw=(48, 80), crop_hw=(48, 64)).clip(0)
    assert film.rgb_u8.shape == (20, 48, 64, 3) and film.depth_z.shape == (20, 48, 64)
    K = clip.K_px
    np.testing.assert_allclose(film.K_px[[0, 1, 1], [0, 1, 2]], [K[0, 0] * 2.5, K[1, 1] * 2, K[1, 2] * 2], rtol=1e-6)
    np.testing.assert_allclose(film.K_px[0, 2], K[0, 2] * 2.5 - 8, rtol=1e-6)
    np.testing.assert_array_equal(film.rgb_u8[9], film.rgb_u8[7])
    with pytest.raises(InputError, match="crop of 90x48 px"):
        FilmFolder(folder, frames=20, resize_hw=(48, 80), crop_hw=(48, 90)).clip(0)


def test_a_film_ends_where_something_is_missing(folder, clip):
    """Frames after the first one without a pose are not used; the order of `inds` does not matter."""
    c2w = np.linalg.inv(clip.w2c.astype(float))
    keep = np.array([3, 1, 0, 2, 5, 6])
    save(folder / "pose" / f"{clip.video_id}.npz", inds=keep, data=c2w[keep])
    film = read_film(folder, clip.video_id, frames=100)
    assert len(film) == 4
    np.testing.assert_allclose(film.w2c, clip.w2c[:4], atol=1e-6)


@pytest.mark.parametrize(
    ("what", "arrays", "said"),
    [
        ("pose", {"inds": np.arange(9), "data": np.ones((9, 4, 4))}, "is no rigid transform"),
        ("pose", {"inds": np.arange(9), "data": np.full((9, 4, 4), np.nan)}, "is no rigid transform"),
        ("pose", {"inds": np.zeros(9, int), "data": np.ones((9, 4, 4))}, "name a frame twice"),
        ("pose", {"inds": np.arange(3), "data": np.ones((9, 4, 4))}, "expected .N. and .N, 4, 4"),
        ("pose", {"inds": np.arange(5, 9), "data": np.ones((4, 4, 4))}, "no frame with pose"),
        ("intrinsics", {"inds": np.arange(9), "data": np.tile([-5.0, 5, 1, 1], (9, 1))}, "expected one camera"),
        ("intrinsics", {"inds": np.arange(9), "data": np.arange(36.0).reshape(9, 4)}, "intrinsics vary"),
        ("depth", {"inds": np.arange(9), "data": np.ones((9, 3, 3))}, "expected .N. and .N, 24, 32"),
        ("rgb", {"frames": np.zeros((4, 24, 32), np.uint8)}, "expected uint8 .T, H, W, 3"),
        ("rgb", {"frames": np.array([{}], object)}, "plain numbers"),
    ],
)
def test_damaged_arrays_are_refused(folder, clip, what, arrays, said):
    """The message says what is wrong and names the file."""
    save(folder / what / f"{clip.video_id}.npz", **arrays)
    with pytest.raises(InputError, match=said) as error:
        read_film(folder, clip.video_id, frames=100)
    assert clip.video_id in str(error.value)


@pytest.mark.parametrize("ids", ["", "../up\n", "a/b\n", ".hidden\n", "one\none\n", "\0\n"])
def test_lists_that_lead_elsewhere_are_refused(tmp_path, ids):
    """An id is a plain file name, and stands once."""
    (tmp_path / LIST_NAME).write_text(ids)
    with pytest.raises(InputError, match=LIST_NAME):
        read_list(tmp_path / LIST_NAME)


@pytest.mark.parametrize("damage", ["no zip", "no exr", "other size", "no video", "nothing"])
def test_damaged_films_of_the_released_form_are_refused(clip, tmp_path, damage):
    """Videos and depth archives that are none."""
    write_films(tmp_path, [clip], form="released")
    depth, video = (tmp_path / f / f"{clip.video_id}{s}" for f, s in (("depth", ".zip"), ("rgb", ".mp4")))
    if damage == "no zip":
        depth.write_bytes(b"PK nothing")
    elif damage in ("no exr", "other size"):
        from lyra.worldgen.core.exr import write_exr_channel

        with zipfile.ZipFile(depth, "w") as archive:
            archive.writestr("00000.exr", b"EXR?" if damage == "no exr" else write_exr_channel(np.ones((5, 5))))
    elif damage == "no video":
        video.write_bytes(b"moov")
    else:
        depth.unlink()
    with pytest.raises(InputError, match=clip.video_id):
        read_film(tmp_path, clip.video_id, frames=100)


def test_unknown_form_is_refused(tmp_path, clip):
    """With the names that are known."""
    with pytest.raises(ConfigError, match="expected one of: exact, released"):
        write_films(tmp_path, [clip], form="avi")


def test_one_camera_stands_for_almost_equal_ones():
    """Small jitter is averaged away."""
    jitter = np.array([100.0, 90, 50, 40]) + np.random.default_rng(0).normal(0, 0.05, (30, 4))
    np.testing.assert_allclose(one_K(jitter, "x")[[0, 1, 0, 1], [0, 1, 2, 2]], [100, 90, 50, 40], atol=0.05)


class TestCaptions:
    def test_released_pickles_are_read(self, tmp_path):
        """Texts, frame ranges and bfloat16 embeddings."""
        torch = pytest.importorskip("torch")
        embedding = torch.randn(4, 8).bfloat16()
        path = tmp_path / CAPTION_FOLDER / "a.pkl"
        path.parent.mkdir()
        content = {0: {"frame_range": (0, 80), "caption": "a room", "embedding": embedding}, 80: {"caption": "b"}}
        path.write_bytes(pickle.dumps(content))
        found = read_caption_pickle(path)
        assert list(found) == [0, 80] and found[0].text == "a room" and found[80].embedding is None
        np.testing.assert_array_equal(found[0].embedding, embedding.float().numpy())

    @pytest.mark.parametrize("make", ["command", "global", "bomb", "cut off", "no mapping", "huge tensor", "nested"])
    def test_pickles_that_want_more_are_refused(self, tmp_path, make):
        """Nothing that a pickle names is run, whatever it is wrapped in."""
        torch = pytest.importorskip("torch")
        marker, path = tmp_path / "ran", tmp_path / "a.pkl"

        class Command:
            def __reduce__(self):
                return (__import__("os").system, (f"touch {marker}",))

        class Loads:
            def __reduce__(self):
                return (torch.storage._load_from_bytes, (pickle.dumps(Command()),))

        class Huge:
            def __reduce__(self):
                return (
                    torch._utils._rebuild_tensor_v2,
                    (torch.zeros(3)._typed_storage(), 0, (1 << 20,), (1,), False, {}),
                )

        path.write_bytes(
            {
                "command": pickle.dumps({0: Command()}),
                "global": b"cbuiltins\neval\n(S'1'\ntR.",
                "bomb": b"\x80\x04\x8e" + (2**60).to_bytes(8, "little") + b"x",
                "cut off": pickle.dumps({0: {"caption": "a" * 1000}})[:500],
                "no mapping": pickle.dumps([1, 2]),
                "huge tensor": pickle.dumps({0: {"caption": "a", "embedding": Huge()}}),
                "nested": pickle.dumps({0: {"caption": "a", "embedding": Loads()}}),
            }[make]
        )
        with pytest.raises(InputError, match="captions"):
            read_caption_pickle(path)
        assert not marker.exists()

    @pytest.mark.parametrize("text", ["[]", "{}", '{"x": "a"}', '{"0": 3}', "{", '{"0": {"caption": 3}}', "[" * 99999])
    def test_json_that_holds_no_texts_is_refused(self, tmp_path, text):
        """Keys are frame numbers, values texts."""
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(InputError, match="caption"):
            read_caption_json(tmp_path / "a.json")

    def test_the_caption_of_a_frame_is_the_last_one_before_it(self, clip, tmp_path):
        """The first one stands for what comes before it."""
        (tmp_path / "a.json").write_text(json.dumps({"80": "b", "8": "a"}))
        film = dataclasses.replace(clip, captions=read_caption_json(tmp_path / "a.json"))
        assert [film.caption_at(k).text for k in (0, 8, 79, 80, 200)] == ["a", "a", "a", "b", "b"]
        assert dataclasses.replace(clip, captions={}).caption_at(3) is None


def test_npz_with_wrong_sizes_does_not_fill_memory(folder, clip):
    """A header that declares more than the file holds is refused before anything is allocated."""
    path = folder / "rgb" / f"{clip.video_id}.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (1 << 20, 1 << 10, 1 << 10, 3)}
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("frames.npy", header.getvalue())
    with pytest.raises(InputError, match="declares shape"):
        read_film(folder, clip.video_id, frames=3)
