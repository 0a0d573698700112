"""What a part of the model runs on: ONNX Runtime or OpenVINO, behind one small interface; which is the faster is found by trying."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.metadata
import json
import os
import platform
import queue
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from engines.base import BadModel, EngineError, EngineUnavailable, SynthesisFailed
from engines.kokoro.files import INSTALL

Feed = Mapping[str, npt.NDArray[Any]]
Made = dict[str, npt.NDArray[np.float32]]

GPU = "pip uninstall onnxruntime; pip install 'onnxruntime-gpu[cuda,cudnn]'"
TRIALS = 3  # runs of which the fastest counts: the others were disturbed
NAMES = {
    "float32": ("onnxruntime", "openvino-f32", "openvino-bf16", "onnxruntime-cuda"),
    "int8": ("onnxruntime",),
}
"""What parts of each precision can run on."""
CUDA = "CUDAExecutionProvider"
CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC"}  # the default tries every algorithm anew for each length
MOST_REQUESTS = 8  # kept for a model: one a thread that speaks at the same time; further ones are made and thrown away


class Model(ABC):
    """One loaded graph. Runs in any thread, several at once. Raises :exc:`SynthesisFailed`."""

    @abstractmethod
    def run(self, feed: Feed) -> Made:
        """Outputs by name; the arrays are the caller's."""


class Runtime(ABC):
    """A library that loads graphs."""

    name: ClassVar[str]

    @abstractmethod
    def open(self, path: Path) -> Model:
        """Raises :exc:`BadModel`."""


class OnnxRuntime(Runtime):
    """ONNX Runtime, on the processor or on an NVIDIA card."""

    def __init__(self, threads: int, *, cuda: bool = False) -> None:
        """Raises :exc:`EngineUnavailable`, also where no card can be used."""
        self._library = _import("onnxruntime")
        self.name = "onnxruntime-cuda" if cuda else "onnxruntime"  # type: ignore[misc]
        self._providers: list[Any] = ["CPUExecutionProvider"]
        if cuda:
            if CUDA not in self._library.get_available_providers():
                raise EngineUnavailable("this ONNX Runtime does not use a graphics card", remedy=GPU)
            self._library.preload_dlls()  # CUDA's libraries where pip has put them; without them the system's are looked for
            self._providers.insert(0, (CUDA, CUDA_OPTIONS))
        state = vars(_import("onnxruntime.capi.onnxruntime_pybind11_state"))
        own = [item for item in state.values() if isinstance(item, type) and issubclass(item, Exception)]
        self._errors: tuple[type[Exception], ...] = (*own, RuntimeError, ValueError, OSError)
        self._threads = threads

    def open(self, path: Path) -> Model:
        options = self._library.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only: the library warns of its own optimisations
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads would take the cores of other lanes
        try:
            session = self._library.InferenceSession(str(path), options, providers=self._providers)
        except self._errors as problem:
            raise BadModel(f"{path}: {problem}", remedy="remove it, it is made again") from problem
        if len(self._providers) > 1 and CUDA not in session.get_providers():  # it goes on without the card, with a line on stderr
            raise EngineUnavailable("ONNX Runtime finds no graphics card, or not CUDA's libraries", remedy=GPU)
        return _OnnxModel(session, self._errors)


class _OnnxModel(Model):
    def __init__(self, session: Any, errors: tuple[type[Exception], ...]) -> None:
        self._session, self._errors = session, errors
        self._names = [item.name for item in session.get_outputs()]

    def run(self, feed: Feed) -> Made:
        try:
            return dict(zip(self._names, self._session.run(None, dict(feed)), strict=True))
        except self._errors as problem:
            raise SynthesisFailed(f"ONNX Runtime: {problem}") from problem


class OpenVino(Runtime):
    """OpenVINO on the processor, in float32 or, where the processor multiplies it, bfloat16."""

    def __init__(self, threads: int, *, precision: str) -> None:
        """Raises :exc:`EngineUnavailable`, also for a precision that this processor does not have."""
        self._library = _import("openvino")
        self._core = self._library.Core()
        if precision == "bf16" and "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise EngineUnavailable("this processor does not multiply bfloat16", remedy="use openvino-f32")
        streams = max(1, (os.cpu_count() or 1) // threads)
        self._settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads * streams,
            "NUM_STREAMS": streams,
        }
        self.name = f"openvino-{precision}"  # type: ignore[misc]

    def open(self, path: Path) -> Model:
        try:
            return _OpenVinoModel(self._core.compile_model(self._core.read_model(str(path)), "CPU", self._settings))
        except (RuntimeError, ValueError) as problem:
            raise BadModel(f"{path}: {problem}", remedy="remove it, it is made again") from problem


class _OpenVinoModel(Model):
    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._idle: queue.LifoQueue[Any] = queue.LifoQueue(MOST_REQUESTS)
        self._names = [(index, output.get_any_name()) for index, output in enumerate(compiled.outputs)]

    def run(self, feed: Feed) -> Made:
        try:
            request = self._idle.get_nowait()
        except queue.Empty:
            request = self._compiled.create_infer_request()
        try:
            request.infer(dict(feed), share_inputs=True)
            return {name: np.array(request.get_output_tensor(index).data) for index, name in self._names}
        except (RuntimeError, ValueError) as problem:
            raise SynthesisFailed(f"OpenVINO: {problem}") from problem
        finally:
            with contextlib.suppress(queue.Full):
                self._idle.put_nowait(request)


def make(name: str, threads: int) -> Runtime:
    """The runtime of that name. Raises :exc:`EngineUnavailable`."""
    library, _, kind = name.partition("-")
    return OpenVino(threads, precision=kind) if library == "openvino" else OnnxRuntime(threads, cuda=kind == "cuda")


Graphs = Mapping[str, tuple[Path, Feed]]
"""By precision a graph, and what to feed it with."""
Choice = tuple[str, str]
"""A precision, and what its parts run on."""


def fastest(graphs: Graphs, threads: int) -> Choice:
    """The choice that takes the least time, of those that are here. Raises :exc:`EngineUnavailable` for none."""
    took: dict[Choice, float] = {}
    problems: list[EngineError] = []
    for precision, (path, feed) in graphs.items():
        for name in NAMES[precision]:
            try:
                model = make(name, threads).open(path)
                model.run(feed)  # the first run of a shape prepares it
                took[precision, name] = min(_seconds(model, feed) for _ in range(TRIALS))
            except (EngineUnavailable, SynthesisFailed) as problem:
                problems.append(problem)
    if not took:
        raise EngineUnavailable(str(problems[0]))
    return min(took, key=lambda choice: took[choice])


def choose(cache: Path, graphs: Graphs, threads: int) -> Choice:
    """What :func:`fastest` found here before, or finds now; a cache that cannot be written is no reason to fail."""
    versions = [version(package) for package in ("onnxruntime", "onnxruntime-gpu", "openvino")]
    folders = [path.parent.name for path, _ in graphs.values()]
    parts = [_processor(), str(os.cpu_count()), str(threads), *folders, *versions]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    kept = cache / f"runtime-{key}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        told = json.loads(kept.read_text())
        precision, name = told["precision"], told["runtime"]
        if name in NAMES[precision] and (name != "onnxruntime-cuda" or _opens(name, graphs[precision][0], threads)):
            return precision, name
    precision, name = fastest(graphs, threads)
    with contextlib.suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=cache)
        with os.fdopen(handle, "w") as file:
            json.dump({"precision": precision, "runtime": name}, file)
        os.replace(draft, kept)
    return precision, name


def _opens(name: str, path: Path, threads: int) -> bool:
    """A card may have gone."""
    try:
        make(name, threads).open(path)
    except EngineUnavailable:
        return False
    return True


def _processor() -> str:
    """What kind it is and what it can do."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
    return platform.processor() or platform.machine()


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _seconds(model: Model, feed: Feed) -> float:
    start = time.perf_counter()
    model.run(feed)
    return time.perf_counter() - start


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as problem:
        raise EngineUnavailable(f"engine kokoro needs {name}: {problem}", remedy=INSTALL) from problem
