"""The loop of a side of a benchmark: requests in, answers out, one line of JSON each.

Only what Python brings is imported here, as both PyTorch's and TensorFlow's side run
it.
"""

import json
import os
import pathlib
import re
import sys
import time

CLEAR_PEAK = "5"  # see proc_pid_clear_refs(5)


def memory(what):
    """MiB of this process, "VmRSS" or "VmHWM" (the peak); None where not on Linux."""
    status = pathlib.Path("/proc/self/status")
    if not status.is_file():
        return None
    return round(int(re.search(rf"{what}:\s+(\d+)", status.read_text())[1]) / 1024)


def forget_peak():
    """Lets the peak begin anew with what is in use now."""
    file = pathlib.Path("/proc/self/clear_refs")
    if file.exists():
        file.write_text(CLEAR_PEAK)


def matrix_size(on_gpu):
    """Side of matrices whose product is near the device's limit."""
    return 8192 if on_gpu else 2048


def matrix_rate(multiply, size=2048, seconds=0.8):
    """Operations per second of `multiply()`, a product of (size, size) matrices."""
    multiply()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        multiply()
        count += 1
    return count * 2 * size**3 / (time.perf_counter() - start)


def serve(runs, ceiling=None, device_memory=None, facts=None, forget_device=None):
    """Answers requests until the stream ends.

    Args:
        runs: Function of no argument that does the work once and gives what is to be
            compared, such as the loss; it has ended when it returns. Several kinds of
            work are a dictionary of such functions by their names.
        ceiling: Function that gives the rate of a matrix product.
        device_memory: Function that gives the peak on an accelerator in MiB.
        facts: Dictionary that goes with the answer to "memory".
        forget_device: Function that lets that peak begin anew.
    """
    # The answers alone go to what was the output; programs print what they like.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    runs = runs if isinstance(runs, dict) else {None: runs}
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "run":
            answer = run_times(runs[request.get("what")], request["count"])
        elif request["do"] == "ceiling":
            answer = {"rate": ceiling() if ceiling else None}
        elif request["do"] == "forget_peak":
            forget_peak()
            if forget_device:
                forget_device()
            answer = {}
        else:
            answer = {"peak_mb": memory("VmHWM"), "now_mb": memory("VmRSS")}
            if device_memory:
                answer["device_peak_mb"] = device_memory()
            answer |= facts or {}
        out.write(json.dumps(answer) + "\n")
        out.flush()


def run_times(run, count):
    """Wall and processor seconds and results of `count` runs, a dictionary of lists."""
    seconds, processor, results = [], [], []
    for _ in range(count):
        start, used = time.perf_counter(), time.process_time()
        results.append(run())
        seconds.append(time.perf_counter() - start)
        processor.append(time.process_time() - used)
    return {"seconds": seconds, "processor_seconds": processor, "results": results}
