"""Data in the forms people have it in, and sentences for data that is none."""

import wave
from pathlib import Path

import cv2
import numpy as np
import pytest

from converters.datasets import open_dataset
from edgeops.contracts.manifest import Task
from edgeops.errors import ContractError, EdgeOpsError, StorageError, UsageError

TASK = Task(type="classification", labels=("cat", "dog"))


def write_image(path: Path, red: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.zeros((6, 8, 3), np.uint8)
    image[:, :, 2] = red  # OpenCV writes blue, green, red
    assert cv2.imwrite(str(path), image)


def test_npz_gives_samples_labels_and_slices(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    np.savez(path, x=np.arange(6, dtype=np.uint8).reshape(3, 2), y=[0, 1, 1], site=["a", "b", "b"])

    data = open_dataset(path, TASK)

    assert [s.truth.label for s in data.all()] == ["cat", "dog", "dog"]
    assert data.read(2).slices == {"site": "b"}
    assert data.read(1).data.tolist() == [2, 3]


def test_picking_is_repeatable_and_has_no_doubles(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    np.savez(path, x=np.zeros((50, 2)))
    data = open_dataset(path, TASK)

    assert data.pick(10, 1) == data.pick(10, 1)
    assert data.pick(10, 1) != data.pick(10, 2)
    assert len(set(data.pick(10, 1))) == 10
    assert data.pick(99, 1) == tuple(range(50))


def test_folder_per_class_gives_rgb_images(tmp_path: Path) -> None:
    write_image(tmp_path / "cat" / "1.png", 200)
    write_image(tmp_path / "dog" / "1.png", 100)

    data = open_dataset(tmp_path, TASK)

    assert [s.truth.label for s in data.all()] == ["cat", "dog"]
    assert data.read(0).data.shape == (6, 8, 3)
    assert data.read(0).data[0, 0].tolist() == [200, 0, 0]
    assert open_dataset(tmp_path, TASK, color="bgr").read(0).data[0, 0].tolist() == [0, 0, 200]


def test_samples_of_a_folder_that_is_no_label_are_not_dropped(tmp_path: Path) -> None:
    write_image(tmp_path / "cat" / "1.png", 200)
    write_image(tmp_path / "dogs" / "1.png", 100)
    (tmp_path / "notes").mkdir()

    with pytest.raises(ContractError, match="'dogs' holds samples, and is none of the labels cat"):
        open_dataset(tmp_path, TASK)


def test_a_list_without_the_column_of_files_says_which_it_has(tmp_path: Path) -> None:
    write_image(tmp_path / "1.png", 200)
    (tmp_path / "labels.csv").write_text("filename,class\n1.png,cat\n")

    with pytest.raises(ContractError, match="no column 'file', only filename, class"):
        open_dataset(tmp_path, TASK)


def test_labels_file_gives_boxes_as_shares_of_the_image(tmp_path: Path) -> None:
    write_image(tmp_path / "1.png", 1)
    write_image(tmp_path / "2.png", 2)
    (tmp_path / "labels.csv").write_text("file,label,x1,y1,x2,y2\n1.png,dog,0,0,4,6\n2.png,,,,,\n")

    data = open_dataset(tmp_path, TASK)

    assert data.read(0).truth.objects[0].box == (0.0, 0.0, 0.5, 1.0)
    assert data.read(1).truth.objects == ()


def test_digest_of_a_folder_changes_with_any_byte(tmp_path: Path) -> None:
    write_image(tmp_path / "cat" / "1.png", 200)
    before = open_dataset(tmp_path, TASK).sha256

    write_image(tmp_path / "cat" / "1.png", 201)

    assert open_dataset(tmp_path, TASK).sha256 != before


def test_csv_rows_or_one_signal(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("t,a,label\n0,1.5,cat\n1,2.5,dog\n")

    assert [s.data.tolist() for s in open_dataset(path, TASK).all()] == [[1.5], [2.5]]
    assert open_dataset(path, TASK, windowed=True).read(0).data.tolist() == [1.5, 2.5]


def test_wav_folder_gives_numbers_from_minus_one_to_one(tmp_path: Path) -> None:
    (tmp_path / "dog").mkdir()
    with wave.open(str(tmp_path / "dog" / "1.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(np.array([0, 16384, -32768], "<i2").tobytes())

    sample = open_dataset(tmp_path, TASK).read(0)

    assert sample.data.tolist() == [0.0, 0.5, -1.0]
    assert sample.truth.label == "dog"


def test_anomaly_data_counts_from_normal(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    np.savez(path, x=np.zeros((2, 4)), y=[0, 1])

    data = open_dataset(path, Task(type="anomaly", score="mse"))

    assert [s.truth.label for s in data.all()] == ["normal", "anomaly"]


def hurt_label(path: Path) -> None:
    np.savez(path / "d.npz", x=np.zeros((2, 4)), y=[0, 7])


def hurt_bytes(path: Path) -> None:
    (path / "d.npz").write_bytes(b"PK\x03\x04nonsense")


def hurt_names(path: Path) -> None:
    np.savez(path / "d.npz", data=np.zeros(3))


def hurt_objects(path: Path) -> None:
    np.savez(path / "d.npz", x=np.array([{"a": 1}], dtype=object))


@pytest.mark.parametrize(
    ("hurt", "words"),
    [
        (hurt_label, r"y\[1\]"),
        (hurt_bytes, "no readable"),
        (hurt_names, "no array 'x'"),
        (hurt_objects, "no readable"),
    ],
)
def test_bad_npz_is_one_sentence(hurt: object, words: str, tmp_path: Path) -> None:
    assert callable(hurt)
    hurt(tmp_path)

    with pytest.raises(ContractError, match=words):
        open_dataset(tmp_path / "d.npz", TASK)


def test_other_bad_data_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,label\n../secret.png,cat\n")
    cases: list[tuple[Path, type[EdgeOpsError], str]] = [
        (tmp_path / "none.npz", StorageError, "cannot read"),
        (tmp_path / "none", StorageError, "no such file"),
        (tmp_path, ContractError, "no file of this folder"),
    ]
    for path, kind, words in cases:
        with pytest.raises(kind, match=words):
            open_dataset(path, TASK)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="0 samples"):
        open_dataset(tmp_path / "empty", TASK)
