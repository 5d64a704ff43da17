"""Run mutmut with four changes that it has no settings for.

*Decorated functions are changed too.* Strategies have the decorator `@tunable`, and most terms of a formula are
properties. Here the decorator is applied to mutmut's switch between the mutants, which are plain functions. This works
for every decorator that is called once, when the function is defined. The decorators themselves are not changed.

*Mutants of the library are found.* mutmut names a mutant after its path, and looks it up by the name of its module. It
knows that `src/` belongs to no module's name, but not that `sdk/` does not either.

*The tests of selection judge selection alone.* They reach half of the rest, and take longer than all other tests.

*Quick tests come first,* and in the same order each time: most mutants die of the first few.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import libcst as cst
from mutmut import __main__ as program
from mutmut import stats
from mutmut.mutation import file_mutation, trampoline
from mutmut.mutation.file_mutation import Mutation, MutationVisitor
from mutmut.state import state
from mutmut.utils import format_utils
from mutmut.workers.isolation import ForkServerRunner

Arrangement = tuple[Sequence[cst.CSTNode], Sequence[cst.CSTNode], Sequence[cst.CSTNode], Sequence[str]]
UNDERSTOOD = (["staticmethod"], ["classmethod"])  # decorators that mutmut itself supports

skips = MutationVisitor._skip_node_and_children
arranged: Any = file_mutation.function_trampoline_arrangement
named = format_utils.get_mutant_name
record = stats.record_trampoline_hit
submit = ForkServerRunner.submit


def bare(node: cst.CSTNode) -> cst.CSTNode:
    """Return a function without the decorators that mutmut does not support."""
    if not isinstance(node, cst.FunctionDef) or not node.decorators:
        return node
    names = [one.decorator.value for one in node.decorators if isinstance(one.decorator, cst.Name)]
    return node if names in UNDERSTOOD else node.with_changes(decorators=())


def skips_bare(visitor: MutationVisitor, node: cst.CSTNode) -> bool:
    return skips(visitor, bare(node))


def arranged_bare(function: cst.FunctionDef, mutants: Iterable[Mutation], class_name: str | None) -> Arrangement:
    stripped = bare(function)
    declared, (switch, *copies), assigned, names = arranged(stripped, mutants, class_name)
    if stripped is not function:
        switch = switch.with_changes(decorators=[*function.decorators, *switch.decorators])
    return declared, [switch, *copies], assigned, names


def named_as_imported(path: Path, function: str) -> str:
    """Name a mutant after the module that its tests import."""
    return named(path, function).removeprefix("sdk.")


def record_own(function: str, caller: str | None = None) -> None:
    """Note that the current test reaches a function, if it is one of the tests that judge this function."""
    if ".selection." in function or "/selection/" not in os.environ.get("PYTEST_CURRENT_TEST", ""):
        record(function, caller)


def submit_quickest_first(runner: ForkServerRunner, mutant: str, tests: list[str], limit: int, estimate: float) -> None:
    seconds = state().duration_by_test
    submit(runner, mutant, sorted(tests, key=lambda test: (seconds[test], test)), limit, estimate)


def main() -> None:
    for module in (program, file_mutation):
        vars(module)["get_mutant_name"] = named_as_imported
    vars(trampoline)["record_trampoline_hit"] = record_own
    vars(file_mutation)["function_trampoline_arrangement"] = arranged_bare
    MutationVisitor._skip_node_and_children = skips_bare  # type: ignore[method-assign, assignment]  # no setting for it
    ForkServerRunner.submit = submit_quickest_first  # type: ignore[method-assign, assignment]
    program.cli()


if __name__ == "__main__":
    main()
