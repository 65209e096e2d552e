"""The factory for components whose script is an ES module, and calls into such modules from Gradio's listeners.

Templates stay constant, because Gradio evaluates whatever is interpolated into one: data travels as `value`, and the
script draws it with textContent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import gradio as gr

# Gradio offers only those events as listeners that stand in quotes in this script.
MOUNT = 'window.nanollm.mount("{script}", "{mount}", {{ element, props, trigger, watch, server, events: {events} }});'


def component(
    script: str,
    template: str = "",
    value: Any = None,
    *,
    elem_id: str,
    elem_classes: str = "",
    mount: str = "mount",
    events: Sequence[str] = (),
    functions: Sequence[Callable[..., Any]] = (),
    **constants: str,
) -> gr.HTML:
    """Return a `gr.HTML` that is drawn by a module of the page.

    Args:
        script: path of the module inside playground/.
        template: HTML in which `{name}` stands for a constant.
        value: initial value; JSON-compatible.
        mount: the function that the module exports for this component.
        events: names of the events that the script triggers.
        functions: Python functions that the script can call as `server.<name>`.
        constants: text for the template; escaped here.
    """
    return gr.HTML(
        value,
        html_template=template.format_map({name: escape(text) for name, text in constants.items()}),
        js_on_load=MOUNT.format(script=script, mount=mount, events=json.dumps(list(events))),
        server_functions=list(functions) or None,
        elem_id=elem_id,
        elem_classes=elem_classes,
        apply_default_css=False,
    )


def browser_call(script: str, function: str, *names: str, returns: bool = False, **constants: str) -> str:
    """Return a listener's `js=` that calls an exported function of a module.

    Args:
        names: fields under which the function receives the listener's inputs, in their order; a last `...name` is a
            list of all further inputs.
        returns: whether the function's result is the listener's output.
        constants: further fields, as JavaScript expressions.
    """
    named = [name.removeprefix("...") for name in names]
    fields = ", ".join([*named, *(f"{name}: {expression}" for name, expression in constants.items())])
    call = f'(await window.nanollm.load("{script}")).{function}({{ {fields} }})'
    inputs = ", ".join(names)
    return f"async ({inputs}) => {call}" if returns else f"async ({inputs}) => {{ {call}; return []; }}"
