"""Images from disk: how fast they are read and trained on, and what memory a folder larger than that takes.

    python -m benchmarks.streaming [--parts reading training decoding folder] [--pictures 200000]

All on made pictures, in a temporary folder below `--scratch` (4 GB of room). It takes less than ten minutes.

    reading   random batches of shards in the page cache, on one thread: images a second of time and of
              processor time
    training  ResNet-20 on the same images of 32 pixels in memory and streamed, two processes that take turns;
              a first turn does not count. Medians, and the median of the turns' ratios
    decoding  JPEGs of 500 x 375, a random-resized crop of each to 224: this project's on all cores;
              TensorFlow's `decode_and_crop_jpeg` and resize in tf.data on all cores; Pillow, whole picture
              first, on one
    folder    so many pictures of 64 pixels in a folder, under a limit of 2 GB on private memory
              (RLIMIT_DATA): trained, killed in an epoch, resumed, and compared with a run that was not killed
"""

import argparse
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.contenders import ROOT

LIMIT = 2 * 10**9  # bytes
BATCH = 128
IMAGES = 20_000  # of the training
SIZE = (500, 375)
JPEGS = 400


def reading(scratch, given):
    """Shards in the page cache."""
    from resnet.data import synthetic

    for size, count in ((32, 60_000), (64, 20_000), (224, 2_000)):
        options = {"train_images": count, "test_images": 10, "validation_split": 0.0}
        train = synthetic(size, memory="streamed", shards=str(scratch / "shards"), **options).train
        random = np.random.default_rng(0)
        train.batch(np.arange(count))  # into the page cache
        images, started = 0, np.array([time.perf_counter(), time.thread_time()])
        while time.perf_counter() - started[0] < given.seconds:
            images += len(train.batch(random.permutation(count)[: 16 * BATCH])[0])
        passed, worked = np.array([time.perf_counter(), time.thread_time()]) - started
        print(f"reading, {size} pixels: {images / passed:,.0f} images/s, {images / worked:,.0f} a core")


def train_in_turns(memory, scratch, seconds):
    """One of the two processes of `training`."""
    import keras

    import resnet
    from benchmarks.throughput import Turns
    from resnet.augmentation import shift_flip
    from resnet.data import synthetic
    from resnet.models import resnet_v1
    from resnet.run.callbacks import Callback

    turns = Turns(seconds)

    class Report(Callback):
        needs_run = False

        def on_train_batch_end(self, batch, logs=None):
            turns.step_done((self.trainer.step - self.done) * BATCH)
            self.done = self.trainer.step

        done = 0

    options = {"train_images": IMAGES, "test_images": 500, "validation_split": 0.0}
    dataset = synthetic(32, memory=memory, shards=str(scratch / "shards"), **options)
    model = resnet_v1(dataset.image_shape, 10, depth=20)
    options = {"epochs": 10**6, "batch_size": BATCH, "augmentation": shift_flip(), "watch": "test"}
    resnet.fit(model, dataset, keras.optimizers.SGD(0.01), callbacks=[Report()], **options)


def training(scratch, given):
    """In memory and streamed, by turns."""
    names, processes, rates = ("resident", "streamed"), [], [[], []]
    for name in names:
        command = [sys.executable, "-m", "benchmarks.streaming", "--turns", name, "--scratch", str(scratch)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        log = (scratch / f"{name}.log").open("w", encoding="utf-8")
        command += ["--seconds", str(given.seconds)]
        processes.append(subprocess.Popen(command, cwd=ROOT, stderr=log, **pipes))
        processes[-1].stdout.readline()  # the warm-up
    for _ in range(given.repeats):
        for process, found in zip(processes, rates, strict=True):
            print("go", file=process.stdin, flush=True)
            found.append(float(process.stdout.readline()))
    for process in processes:
        process.stdin.close()
        process.wait()
    for name, found in zip(names, rates, strict=True):
        print(f"training, {name}: {np.median(found):,.0f} images/s ({min(found):,.0f} to {max(found):,.0f})")
    print(f"training, streamed / resident: {np.median(np.divide(rates[1], rates[0])):.3f}")


def jpegs(folder):
    """Pictures of some structure, of the size of ImageNet's."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(JPEGS):
        coarse = Image.fromarray(random.integers(0, 256, (24, 32, 3), np.uint8)).resize(SIZE, 3)
        noise = random.integers(-12, 13, (SIZE[1], SIZE[0], 3))
        picture = np.clip(np.asarray(coarse, np.int16) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(folder / f"{i}.jpg", quality=90)
    return sorted(map(str, folder.iterdir()))


def decoding(scratch, given):
    """JPEG and random-resized crop to 224 pixels."""
    import tensorflow as tf

    from resnet.augmentation.crop import Crop
    from resnet.data.image_folder import pictures_in
    from resnet.data.shards import write

    paths, crop = jpegs(scratch / "jpegs"), Crop((0.08, 1.0), (3 / 4, 4 / 3))
    size = sum(os.path.getsize(path) for path in paths) / len(paths)
    how = {"image_size": (224, 224), "channels": 3, "resize": "crop"}
    listed = [(Path(path), i % 2) for i, path in enumerate(paths)]
    pictures = pictures_in(scratch, scratch / "jpegs", listed, ["a", "b"], how, originals=True)
    split, _ = write(pictures, scratch / "shards")

    def ours():
        split.cropped(np.arange(JPEGS), crop, [0, 0])

    def of_pillow():
        random = np.random.default_rng(0)
        for path in paths:
            with Image.open(path) as picture:
                top, left, rows, columns = crop.box(crop.draw(random), picture.height, picture.width)
                part = picture.convert("RGB").crop((left, top, left + columns, top + rows))
                np.asarray(part.resize((224, 224), Image.Resampling.BILINEAR))

    def decode(path, box):
        image = tf.image.decode_and_crop_jpeg(tf.io.read_file(path), box, channels=3)
        return tf.cast(tf.image.resize(image, (224, 224), antialias=True), tf.uint8)

    random = np.random.default_rng(0)
    boxes = np.array([crop.box(crop.draw(random), SIZE[1], SIZE[0]) for _ in paths], np.int32)
    data = tf.data.Dataset.from_tensor_slices((paths, boxes))
    data = data.map(decode, tf.data.AUTOTUNE).batch(BATCH).prefetch(2)

    def of_tensorflow():
        for _ in data:
            pass

    print(f"decoding: JPEGs of {SIZE[0]} x {SIZE[1]}, {size / 1000:.0f} kB each, {os.cpu_count()} cores")
    ways = {
        "this project": ours,
        "tf.data, decode_and_crop_jpeg": of_tensorflow,
        "Pillow, one core": of_pillow,
    }
    rates = {name: [] for name in ways}
    for turn in range(given.repeats + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            if turn:
                rates[name].append(JPEGS / (time.perf_counter() - started))
    for name, found in rates.items():
        print(f"decoding, {name}: {np.median(found):,.0f} images/s ({min(found):,.0f} to {max(found):,.0f})")


def write_pictures(folder, numbers):
    """A class is a colour under noise."""
    for i in numbers:
        random = np.random.default_rng(i)
        pixels = random.integers(0, 128, (64, 64, 3), np.uint8) + np.uint8(
            [12 * (i % 10), 60, 120 - 12 * (i % 10)]
        )
        content = io.BytesIO()
        Image.fromarray(pixels).resize((16, 16)).resize((64, 64)).save(content, "JPEG", quality=80)
        (folder / f"class{i % 10}" / f"{i}.jpg").write_bytes(content.getvalue())


def limited():
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))


def folder(scratch, given):
    """A folder whose arrays are larger than the memory that the run may take."""
    root = scratch / "pictures"
    for i in range(10):
        (root / f"class{i}").mkdir(parents=True)
    started = time.perf_counter()
    with ProcessPoolExecutor() as pool:
        shares = np.array_split(np.arange(given.pictures), 4 * os.cpu_count())
        list(pool.map(write_pictures, [root] * len(shares), shares))
    arrays = given.pictures * 64 * 64 * 3
    print(f"folder: {given.pictures:,} pictures, arrays of {arrays / 1e9:.2f} GB, limit {LIMIT / 1e9:.2f} GB")
    print(f"folder: made in {time.perf_counter() - started:.0f} s")
    common = [
        *("data=image_folder", f"data.dir={root}", "data.image_size=64", "data.normalization=channel"),
        *("data.test_split=0.01", "data.validation_split=0.005", f"data.shards={scratch / 'folder'}"),
        *("model.depth=8", "model.strides=[2,1,2,2]", "trainer.batch_size=128", "trainer.max_steps=100"),
        *("trainer.deterministic=true", "callbacks.checkpoints.minutes=0.02"),
    ]

    def started_run(*more):
        command = [sys.executable, str(ROOT / "train.py"), *more]
        log = (scratch / "folder.log").open("a", encoding="utf-8")
        return subprocess.Popen(command, cwd=scratch, stdout=log, stderr=log, preexec_fn=limited)

    def finished(name):
        result = json.loads((scratch / name / "result.json").read_text("utf-8"))
        if result["status"] != "finished":
            sys.exit(
                f"folder: {name} {result['status']}: {(scratch / 'folder.log').read_text('utf-8')[-2000:]}"
            )
        return result

    started = time.perf_counter()
    started_run(*common, "hydra.run.dir=whole").wait()
    whole = finished("whole")
    print(f"folder: decoded and trained in {time.perf_counter() - started:.0f} s")
    said = (scratch / "folder.log").read_text("utf-8").splitlines()
    print("folder:", next(line for line in said if "GB available" in line).partition(" - ")[2])
    process = started_run(*common, "hydra.run.dir=killed")
    checkpoints = scratch / "killed" / "checkpoints"
    while process.poll() is None and not list(checkpoints.glob("[!.]*")):
        time.sleep(0.05)
    process.kill()
    process.wait()
    started_run("resume=killed").wait()
    killed = finished("killed")
    same = killed["test"] == whole["test"] and hashes(scratch / "whole") == hashes(scratch / "killed")
    for name, found in (("whole", whole), ("killed and resumed", killed)):
        peak, rate = found["peak_memory_bytes"] / 1e9, found["images_per_second"]
        print(f"folder, {name}: peak memory {peak:.2f} GB, {rate:,.0f} images/s, test {found['test']}")
    print(f"folder: the weights are {'the same' if same else 'NOT the same'}")


def hashes(run):
    """Of all that the newest checkpoint holds."""
    from resnet.run.checkpoints import newest

    arrays, _ = newest(run / "checkpoints")
    return {name: array.tobytes() for name, array in arrays.items()}


PARTS = {"reading": reading, "training": training, "decoding": decoding, "folder": folder}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--seconds", type=float, default=3, help="a turn")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--pictures", type=int, default=200_000)
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--turns", choices=["resident", "streamed"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.turns:
        train_in_turns(given.turns, given.scratch, given.seconds)
        return
    scratch = Path(tempfile.mkdtemp(prefix="streaming-", dir=given.scratch))
    try:
        for part in given.parts:
            PARTS[part](scratch, given)
            sys.stdout.flush()
    finally:
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
