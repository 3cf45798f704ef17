"""``eventprop``, or ``python -m eventprop``: training and testing by a benchmark's name, and the tools around it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from eventprop import cli, info, reproduce, runs, scans
from eventprop.certificate import command as certificate
from eventprop.choice import meaning
from eventprop.description import named_neurons
from eventprop.exchange.units import SPIKES
from eventprop.parameters import declaration as parameters
from eventprop.simulators import registry
from eventprop.terminal import blame, entry

_RUNS = {
    "train": "train a benchmark: train SHD --recipe demo ...; as its script train_SHD.py",
    "test": "test what was trained: test SHD --params FILE.json LOAD_LAST=true",
}


@entry
def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in _RUNS:
        return run_benchmark(words[0], words[1:])
    parser = argparse.ArgumentParser(prog=program(), description="Trains and tests spiking networks, and tools around.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in _RUNS.items():
        commands.add_parser(name, help=what)
    listing = commands.add_parser("runs", help="the runs whose files are in a folder, in a table, and how they differ")
    runs.add_arguments(listing)
    about = commands.add_parser("info", help="what is installed and found here, to be pasted into a bug report")
    about.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of data sets (default: ./data)")
    commands.add_parser("keys", help="every key of every benchmark, as Markdown (docs/keys.md)")
    scan = commands.add_parser("scan", help="many runs that differ in some keys, from one TOML file (docs/scans.md)")
    scans.add_arguments(scan)
    again = commands.add_parser("reproduce", help="run the published numbers again and compare (docs/results.md)")
    reproduce.add_arguments(again)
    check = commands.add_parser("check", help="whether the gradients of a neuron are right, shown on random networks")
    certificate.add_arguments(check)
    show = commands.add_parser(
        "show", help="what follows from a neuron's equations: backward dynamics, jump, gradients"
    )
    show.add_argument("neuron", nargs="?", help="its name in models.NEURONS")
    show.add_argument("--models", metavar="FILE.py", help="a Python file with neurons of your own")
    show.add_argument("--no-code", action="store_true", help="the equations alone")
    show.add_argument("--page", action="store_true", help="all neurons, as Markdown (docs/neurons.md)")
    export = commands.add_parser("export", help="a trained network as a NIR graph (docs/nir.md)")
    export.add_argument("checkpoint", type=Path, help="NAME_state_last.npz or another checkpoint")
    export.add_argument("file", type=Path, help="the graph, e.g. NAME.nir")
    export.add_argument("--spikes", choices=SPIKES, default="delta", help="what a spike is to who reads the graph")
    options = parser.parse_args(words)
    if options.command == "check":
        return certificate.main(options)
    if options.command == "runs":
        return runs.main(options)
    if options.command == "scan":
        from eventprop.scans import command

        return command.main(options)
    if options.command == "reproduce":
        from eventprop.reproduce import command as reproducing

        return reproducing.main(options)
    if options.command == "show":
        return show_neuron(options)
    if options.command == "export":
        return export_network(options)
    if options.command == "keys":
        print(keys_page(), end="")
    else:
        print(info.report(options.data_dir))
    return 0


def program() -> str:
    """What this is called where it was started."""
    return "eventprop" if Path(sys.argv[0]).stem == "eventprop" else "python -m eventprop"


def run_benchmark(command: str, words: Sequence[str]) -> int:
    """Train or test a benchmark as its script does; the exit status."""
    names = ", ".join(registry.BENCHMARKS)
    if not words or words[0] in ("-h", "--help"):
        usage = f"usage: {program()} {command} BENCHMARK [--help] [words as of train_BENCHMARK.py]"
        print(f"{usage}\nbenchmarks: {names}", file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    try:
        benchmark = registry.find(words[0])
    except ValueError as error:
        print(f"{command}: error: {error}", file=sys.stderr)
        return 1
    rest = ["test", *words[1:]] if command == "test" else list(words[1:])
    return int(cli.main(benchmark.name, rest, f"{program()} {command} {benchmark.name}"))


def show_neuron(options: argparse.Namespace) -> int:
    """Print what follows from a neuron's declaration; the exit status."""
    from eventprop import models, own_neurons

    try:
        if options.models:
            own_neurons.load_file(options.models)
        from eventprop.derivation.shown import page, shown

        if options.page:
            print(page(models.NEURONS), end="")
            return 0
        if options.neuron is None:
            raise ValueError(f"which neuron? There are {', '.join(models.NEURONS)}")
        neuron = meaning("NEURON", options.neuron, named_neurons())
        print(shown(neuron, code=not options.no_code), end="")
    except (ValueError, OSError) as error:
        blame(error)
        print(f"show: error: {error}", file=sys.stderr)
        return 1
    return 0


def export_network(options: argparse.Namespace) -> int:
    """Write a checkpoint's network as a NIR graph; the exit status."""
    from eventprop.exchange import to_nir
    from eventprop.simulators.inspection import with_own
    from eventprop.simulators.records import network_of
    from eventprop.training import checkpoint

    try:
        state, p = checkpoint.load(options.checkpoint, None)
        shapes = state.weights["in_to_hid"].shape[0] // (p["N_INPUT_DELAY"] + 1), state.weights["hid_to_out"].shape[1]
        network = replace(network_of(p, *shapes), masks=state.masks)
        constants = network.check_time_constants(with_own(network, state.time_constants))
        graph = to_nir.graph_of(network, network.check_weights(state.weights), constants, options.spikes)
        to_nir.write(options.file, graph)
    except (ValueError, KeyError, OSError) as error:
        blame(error)
        print(f"export: error: {'; '.join(str(error).splitlines())}", file=sys.stderr)
        return 1
    return 0


def keys_page() -> str:
    """All keys, from their declarations."""
    benchmarks = {benchmark.title: benchmark.keys for benchmark in registry.BENCHMARKS.values()}
    head = (
        "# Keys of `p`\n\nMade from the declarations by `python -m eventprop keys`. Engines compute in single "
        f"precision: numbers with a fraction are at most {parameters.LARGEST:g} in size, times at least "
        f"{1 / parameters.LARGEST:g}. The last column says what another value changes: the network that given weights "
        "make, the spikes that samples become, which samples these are, what training does with them, or the files "
        "alone.\n\n"
    )
    return head + parameters.markdown(benchmarks)


if __name__ == "__main__":
    sys.exit(main())
