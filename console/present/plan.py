"""A plan as lines: the same words before `--dry-run` ends and before a confirmation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from console.present.safe import safe

if TYPE_CHECKING:
    from console.operations.spec import Plan


def plan_lines(plan: Plan) -> list[str]:
    """Return `plan` as escaped lines, without colour: what happens, what is missing, how far."""
    lines = [safe(plan.title)]
    for section in plan.sections:
        lines.append(f"{safe(section.title)}:")
        lines += [f"  {safe(line)}" for line in section.lines] or ["  nothing"]
    if plan.gaps:
        lines.append("Missing:")
        for gap in plan.gaps:
            lines.append(f"  {safe(gap.message)} ({safe(gap.code)})")
            if gap.mend:
                lines.append(f"    mend: {safe(gap.mend)}")
    if plan.partners:
        lines.append(f"Reaches {plan.partners} partner{'' if plan.partners == 1 else 's'}.")
    if plan.irreversible:
        lines.append(f"Cannot be undone: {safe(plan.irreversible)}")
    return lines
