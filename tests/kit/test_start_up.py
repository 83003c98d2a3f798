"""Starting the extension is cheap, and stopping it leaves nothing behind: with stand-ins for the few names it needs."""

from __future__ import annotations

import json
import subprocess
import sys

STAND_IN = """
import sys, types
before = set(sys.modules)

def module(name, **names):
    found = types.ModuleType(name)
    found.__path__ = []
    vars(found).update(names)
    sys.modules[name] = found
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, found)

class Settings(dict):
    def set(self, path, value):
        self[path] = value

class Subscription:
    living = 0
    def __init__(self, heard):
        Subscription.living += 1
        self.heard = heard
    def __del__(self):
        Subscription.living -= 1

subscriptions, menu = [], []

def observe_event(event_name, on_event, observer_name):
    import weakref
    subscription = Subscription(on_event)
    subscriptions.append(weakref.ref(subscription))
    return subscription

settings = Settings()
dispatcher = types.SimpleNamespace(observe_event=observe_event)
manager = types.SimpleNamespace(get_extension_path=lambda ext_id: "/nowhere/exts/lyra.worldgen")
app = types.SimpleNamespace(get_extension_manager=lambda: manager)
module("carb", log_info=lambda t: None, log_warn=lambda t: None)
module("carb.settings", get_settings=lambda: settings)
module("carb.eventdispatcher", get_eventdispatcher=lambda: dispatcher)
module("omni")
module("omni.ext", IExt=type("IExt", (), {}))
module("omni.kit")
module("omni.kit.app", get_app=lambda: app, GLOBAL_EVENT_UPDATE="update")
module("omni.kit.menu")
module(
    "omni.kit.menu.utils",
    MenuItemDescription=lambda name, onclick_fn: name,
    add_menu_items=lambda items, where: menu.extend(items),
    remove_menu_items=lambda items, where: [menu.remove(item) for item in items],
)
"""
START = """
import json, os, sys
from lyra.worldgen.kit.extension import Extension
extension = Extension()
extension.on_startup("lyra.worldgen-0.1.0")
subscriptions[-1]().heard(None)
loaded = sorted(set(sys.modules) - before)
one = (Subscription.living, list(menu))
state = extension.controller.state
extension.on_shutdown()
extension.on_shutdown()
none = (Subscription.living, list(menu))
extension.on_startup("lyra.worldgen-0.1.0")
again = (Subscription.living, list(menu))
extension.on_shutdown()
half = Extension()
manager.get_extension_path = lambda ext_id: 1 / 0
try:
    half.on_startup("lyra.worldgen-0.1.0")
except ZeroDivisionError:
    half.on_shutdown()
left = (Subscription.living, list(menu))
phase = state.phase.value
print(json.dumps({"loaded": loaded, "one": one, "none": none, "again": again, "left": left, "phase": phase}))
"""


def fresh(code: str) -> dict:
    """What a fresh interpreter prints."""
    return json.loads(subprocess.check_output([sys.executable, "-W", "error", "-c", code], text=True))


def foreign(loaded: list[str]) -> set[str]:
    """Packages that are neither the standard library's, nor ours, nor Kit's."""
    roots = {name.partition(".")[0] for name in loaded}
    return {r for r in roots - sys.stdlib_module_names - {"lyra", "carb", "omni"} if not r.startswith("__editable__")}


def test_the_extension_starts_stops_and_starts_again():
    """Start-up loads no package but Kit's; a menu entry and a subscription come and go with it, also when it fails."""
    said = fresh(STAND_IN + START)
    assert foreign(said["loaded"]) == set() and said["phase"] == "idle"
    assert said["one"] == said["again"] == [1, ["Lyra World Generator"]]
    assert said["none"] == said["left"] == [0, []]


def test_the_controller_imports_the_standard_library_alone():
    """No package at all, none of the library's slow ones, and of ours only configuration, session and this folder."""
    probe = "import sys; before = set(sys.modules)\nimport json, lyra.worldgen.kit.controller\n"
    loaded = fresh(probe + "print(json.dumps({'loaded': sorted(set(sys.modules) - before)}))")["loaded"]
    assert foreign(loaded) == set()
    slow = {"asyncio", "http.client", "email", "ssl", "multiprocessing", "unittest", "xml", "sqlite3", "tkinter"}
    assert slow & set(loaded) == set()
    ours = {".".join(name.split(".")[2:3]) for name in loaded if name.startswith("lyra.worldgen.")}
    assert ours == {"core", "kit", "session"}
