"""The cost of serving: `reslab serve` and LitServe against the bare engine with decoding.

    KERAS_BACKEND=torch python bench/serving.py bench/results/serving.json resnet20
    KERAS_BACKEND=torch python bench/serving.py bench/results/serving.json resnet50 --rounds 3

All contenders serve one model with random weights on the same engine, and decode and resize by the
same code. They take turns; each turn has 1, 8 or 32 clients that send one JPEG after another. CPU
seconds are those of all processes of a server (Linux only). LitServe is skipped if it is not
installed; it gets its pictures in base64, as its documentation does.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from turns import Contender, Contest, Turn, add_run, run_metadata

BARE, OURS, LITSERVE = "bare engine", "reslab serve", "LitServe"
CLIENTS = 1, 8, 32
BATCH, WARM_UP = 32, 1.0  # seconds before each measurement
GOAL = 1.7
TICKS = os.sysconf("SC_CLK_TCK")


def write_model(network: str, path: Path) -> None:
    """A model file with random weights."""
    import reslab
    from reslab.models import saved
    from reslab.models.build import create
    from reslab.spec.serialize import encode_network

    shape = (224, 224, 3) if network == "resnet50" else (32, 32, 3)
    classes = 1000 if network == "resnet50" else 10
    net = create(network, classes=classes, input_shape=shape, data_format="channels_last")
    whole = saved.end_to_end(net, shape, np.full(3, 120.0), np.full(3, 60.0))
    card = {
        "classes": [f"class {i}" for i in range(classes)],
        "image_shape": list(shape),
        "view": "centre",
        "data": "made",
        "network": encode_network(reslab.network(network)),
    }
    saved.save(whole, path, card)


def pictures() -> list[bytes]:
    """JPEGs of 500 x 375 pixels, about 20 kB each, as in ImageNet."""
    from PIL import Image

    rng, encoded = np.random.default_rng(0), []
    for _ in range(BATCH):
        blocks = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        out = io.BytesIO()
        blocks.resize((500, 375), Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
        encoded.append(out.getvalue())
    return encoded


def load(path: Path) -> Any:
    from reslab.serving.model import ServedModel
    from reslab.serving.settings import ServerSettings, threads_of

    model = ServedModel.load(ServerSettings(str(path)), threads_of(1))
    model.warm()
    return model


def bare(turn: Turn, path: Path, seconds: float) -> None:
    """Decode 32 pictures, run the engine, again and again, in one thread."""
    model, encoded = load(path), pictures()
    turn.ready(model.predictor.engine)
    while turn.wait() is not None:
        for measured in (WARM_UP, seconds):
            count, start, cpu = 0, time.perf_counter(), time.process_time()
            while time.perf_counter() - start < measured:
                model.run([model.read(content, "picture") for content in encoded])
                count += BATCH
            spent, took = time.process_time() - cpu, time.perf_counter() - start
        turn.pipe.send({"cpu_ms": 1000 * spent / count, "per_second": count / took})


def server(turn: Turn, name: str, path: Path, seconds: float) -> None:
    """Start a server, and send it pictures from many clients."""
    here = Path(__file__).parent
    command = {
        OURS: [sys.executable, "-m", "reslab", "serve", str(path), "--port", "0"],
        LITSERVE: [sys.executable, str(here / "litserve_server.py"), str(path)],
    }[name]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        port = 0
        while not port:
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"{name} did not start")
            port = int((re.findall(r"http://127\.0\.0\.1:(\d+)", line) or ["0"])[0])
        requests = [request(name, content) for content in pictures()]
        while not asyncio.run(answers(port, requests[0])):
            time.sleep(0.5)
        turn.ready()
        while (clients := turn.wait()) is not None:
            turn.pipe.send(asyncio.run(measure(port, requests, clients, seconds, process.pid)))
    finally:
        process.terminate()
        process.wait(60)


def request(name: str, content: bytes) -> bytes:
    """The bytes of a request with one picture."""
    kind = "image/jpeg"
    if name == LITSERVE:
        content = json.dumps({"picture": base64.b64encode(content).decode()}).encode()
        kind = "application/json"
    head = f"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\n"
    return f"{head}content-length: {len(content)}\r\n\r\n".encode() + content


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, content: bytes) -> bool:
    """Send a request on an open connection. Returns whether the answer is 200."""
    writer.write(content)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    await reader.readexactly(int(re.findall(rb"content-length: (\d+)", head)[0]))
    return b" 200 " in head[:20]


async def answers(port: int, content: bytes) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        good = await asyncio.wait_for(ask(reader, writer, content), 5)
        writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False
    return good


async def measure(
    port: int, requests: list[bytes], clients: int, seconds: float, pid: int
) -> dict[str, Any]:
    """Send pictures from so many clients. Returns rate, latencies and CPU time."""
    connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(clients)]
    latencies: list[float] = []

    async def client(i: int, until: float) -> None:
        number = i
        while (start := time.perf_counter()) < until:
            good = await ask(*connections[i], requests[number % len(requests)])
            assert good
            latencies.append(time.perf_counter() - start)
            number += clients

    for measured in (WARM_UP, seconds):
        latencies.clear()
        cpu, start = cpu_seconds(pid), time.perf_counter()
        await asyncio.gather(*(client(i, start + measured) for i in range(clients)))
        took, spent = time.perf_counter() - start, cpu_seconds(pid) - cpu
    for _, writer in connections:
        writer.close()
    milliseconds = 1000 * np.array(latencies)
    return {
        "cpu_ms": 1000 * spent / len(latencies),
        "per_second": len(latencies) / took,
        "median_ms": float(np.median(milliseconds)),
        "p99_ms": float(np.quantile(milliseconds, 0.99)),
    }


def cpu_seconds(pid: int) -> float:
    """The CPU time of a process and its living descendants."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    threads = [path.name for path in Path(f"/proc/{pid}/task").iterdir() if path.name != str(pid)]
    for thread in threads:
        try:
            children += Path(f"/proc/{pid}/task/{thread}/children").read_text().split()
        except OSError:
            continue
    own = (int(fields[11]) + int(fields[12])) / TICKS
    return own + sum(cpu_seconds(int(child)) for child in children)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("network", choices=["resnet20", "resnet50"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    options = parser.parse_args()
    metadata = run_metadata(os.environ.get("KERAS_BACKEND", "torch"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        write_model(options.network, path)
        names = [BARE, OURS] + ([LITSERVE] if find_spec("litserve") else [])
        contest = Contest(
            {
                name: Contender(bare, (path, options.seconds))
                if name == BARE
                else Contender(server, (name, path, options.seconds))
                for name in names
            }
        )
        rounds = measure_all(contest, options.rounds)
        contest.close()
    run = {
        **metadata,
        "versions": metadata["versions"] | serving_versions(),
        "load_after": os.getloadavg(),
        "network": options.network,
        "engine": contest.setup[BARE],
        "rounds": rounds,
        "ratios": ratios(rounds),
    }
    add_run(options.out, run)
    show(run)


def serving_versions() -> dict[str, str]:
    from importlib import metadata

    names = [name for name in ("uvicorn", "fastapi", "litserve") if find_spec(name)]
    return {name: metadata.version(name) for name in names}


def measure_all(contest: Contest, rounds: int) -> list[dict[str, dict[str, Any]]]:
    """In each round every contender has one turn for each number of clients, in random order."""
    order, results = random.Random(0), []
    for i in range(rounds):
        turns = [(name, n) for name in contest.pipes for n in (CLIENTS if name != BARE else (0,))]
        measured: dict[str, dict[str, Any]] = {}
        for name, clients in order.sample(turns, len(turns)):
            measured.setdefault(name, {})[str(clients)] = contest.turn(name, clients)
        results.append(measured)
        print(f"round {i + 1} of {rounds}", file=sys.stderr, flush=True)
    return results


def ratios(rounds: list[dict[str, dict[str, Any]]]) -> dict[str, dict[str, float]]:
    """CPU time per picture, relative to the bare engine in the same round: the medians."""
    return {
        name: {
            clients: float(
                np.median([r[name][clients]["cpu_ms"] / r[BARE]["0"]["cpu_ms"] for r in rounds])
            )
            for clients in rounds[0][name]
        }
        for name in rounds[0]
        if name != BARE
    }


def show(run: dict[str, Any]) -> None:
    for name, by_clients in run["ratios"].items():
        for clients, ratio in by_clients.items():
            turns = [each[name][clients] for each in run["rounds"]]
            medians = {key: np.median([turn[key] for turn in turns]) for key in turns[0]}
            what = f"{run['network']}, {name}, {clients} clients"
            cost = f"{ratio:.2f} times the CPU of the bare engine"
            rate = f"{medians['per_second']:.0f} pictures/s"
            times = f"median {medians['median_ms']:.1f} ms, 99 % {medians['p99_ms']:.1f} ms"
            print(f"{what}: {cost}, {rate}, {times}")
    print(f"goal: at most {GOAL} at 32 clients")


if __name__ == "__main__":
    main()
