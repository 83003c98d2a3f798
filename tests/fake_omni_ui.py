"""The few widgets of `omni.ui` that the window uses, as plain objects: buttons can be pressed, models hold values.

Whether the names are the real ones is not tested here; a checker compares them with the public sources.
"""

from __future__ import annotations

import types
from typing import Any


class Model:
    """A value that widgets share."""

    def __init__(self, value: Any = None) -> None:
        self.value = value

    def set_value(self, value: Any) -> None:
        self.value = value

    def get_value_as_string(self) -> str:
        return str(self.value)

    def get_value_as_int(self) -> int:
        return int(self.value)

    def get_value_as_float(self) -> float:
        return float(self.value)

    def get_value_as_bool(self) -> bool:
        return bool(self.value)


class Widget:
    """Takes any arguments, is a container, and can be switched."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.arguments, self.options = arguments, options
        self.visible = options.get("visible", True)
        self.enabled = options.get("enabled", True)
        self.text = arguments[0] if arguments and isinstance(arguments[0], str) else ""
        self.destroyed = 0
        self.build_fn: Any = None

    def __enter__(self) -> Widget:
        return self

    def __exit__(self, *exception: object) -> None:
        """A container's end."""

    def destroy(self) -> None:
        self.destroyed += 1

    def clear(self) -> None:
        """Nothing is drawn."""

    def set_build_fn(self, build: Any) -> None:
        self.build_fn = build

    def rebuild(self) -> None:
        self.build_fn()

    def set_accept_drop_fn(self, accept: Any) -> None:
        self.accept = accept

    def set_drop_fn(self, drop: Any) -> None:
        self.drop = drop


class Shown:
    """All that was built."""

    def __init__(self) -> None:
        self.buttons: dict[str, Widget] = {}
        self.fields: list[Widget] = []
        self.boxes: list[Any] = []
        self.pictures: list[tuple[int, int]] = []
        self.windows: list[Widget] = []

    def press(self, text: str) -> None:
        """As a user would; buttons that are greyed out do nothing."""
        button = self.buttons[text]
        if button.enabled:
            button.options["clicked_fn"]()

    def module(self) -> types.ModuleType:
        """`omni.ui`."""
        shown = self

        class Button(Widget):
            def __init__(self, text: str, **options: Any) -> None:
                super().__init__(text, **options)
                shown.buttons[text] = self

        class StringField(Widget):
            def __init__(self, **options: Any) -> None:
                super().__init__(**options)
                shown.fields.append(self)

        class ComboBox(Widget):
            def __init__(self, index: int, *names: str) -> None:
                super().__init__(*names)
                self.model = types.SimpleNamespace(get_item_value_model=lambda: self.value)
                self.value = Model(index)
                shown.boxes.append(self)

        class Window(Widget):
            def __init__(self, title: str, **options: Any) -> None:
                super().__init__(title, **options)
                self.frame = Widget()
                shown.windows.append(self)

        class ByteImageProvider:
            def set_bytes_data(self, data: list[int], size: list[int]) -> None:
                assert len(data) == 4 * size[0] * size[1]
                shown.pictures.append((size[0], size[1]))

        module = types.ModuleType("omni.ui")
        plain = ("VStack", "HStack", "ScrollingFrame", "Frame", "Label", "IntField", "FloatField", "CheckBox")
        vars(module).update({name: type(name, (Widget,), {}) for name in (*plain, "ProgressBar", "ImageWithProvider")})
        models = ("SimpleStringModel", "SimpleIntModel", "SimpleFloatModel", "SimpleBoolModel")
        vars(module).update(dict.fromkeys(models, Model))
        for kind in (Button, StringField, ComboBox, Window, ByteImageProvider):
            setattr(module, kind.__name__, kind)
        return module
