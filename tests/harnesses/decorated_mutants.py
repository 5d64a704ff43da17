"""mutmut, which leaves decorated functions alone, taught to change what is under a decorator as well.

Half of a strategy is under `@tunable`, and most of a formula's terms are properties. Here the decorator goes around
mutmut's switch between the mutants, and the mutants are plain functions. That is all a decorator needs that is called
once, when the function is defined; the decorators themselves stay as they are.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import libcst as cst
from mutmut.__main__ import cli
from mutmut.mutation import file_mutation
from mutmut.mutation.file_mutation import Mutation, MutationVisitor

Arrangement = tuple[Sequence[cst.CSTNode], Sequence[cst.CSTNode], Sequence[cst.CSTNode], Sequence[str]]
UNDERSTOOD = (["staticmethod"], ["classmethod"])  # by mutmut itself

skips = MutationVisitor._skip_node_and_children
arranged: Any = file_mutation.function_trampoline_arrangement


def bare(node: cst.CSTNode) -> cst.CSTNode:
    """A function without the decorators that mutmut does not understand."""
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


def main() -> None:
    vars(file_mutation)["function_trampoline_arrangement"] = arranged_bare
    MutationVisitor._skip_node_and_children = skips_bare  # type: ignore[method-assign, assignment]  # mutmut has no setting for it
    cli()


if __name__ == "__main__":
    main()
