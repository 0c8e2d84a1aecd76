"""The most input tokens a body can be billed for, whatever its caller has put into it.

Under a hard limit an estimate will not do: a caller chooses the text, and may choose fields that nobody reads but the
provider. So the whole body is walked without knowing its shape. A token has a byte at least, hence all text counts by
its bytes; what is no text counts by the most any published rule gives it; what is only referred to (a file's id, an
earlier conversation) cannot be bounded here and is told as `unseen`. What is likely is `measure`'s business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from apikeyrouter.errors import InvalidRequestError

MESSAGE: Final = 8
TOOLS: Final = 700
"""What offering any tool adds to the prompt (published: 264 to 530), and a margin."""
TOOL: Final = 32
BUILT_IN_TOOL: Final = 800
"""A tool the provider describes by itself (published: 245 to 735)."""
IMAGE: Final = 48_169
SMALL_IMAGE: Final = 2_833
"""An image at high and at low detail where images count most (published for gpt-4o-mini: 2,833 + 8 x 5,667)."""
AUDIO_CHARS: Final = 8
"""Base64 characters of audio to a token at least: 32 tokens a second, speech at 1,500 bit/s."""
UNSEEN: Final = 1 << 20
"""Tokens of what a body only refers to, where the model's context window is not known."""
MOST_NODES: Final = 2_000_000
NUMBER: Final = 24
SHORT: Final = 1_000
"""Characters that are an address rather than data."""

OBJECT: Final = (dict, Mapping)
LIST: Final = (list, tuple)
"""For isinstance; dict stands first because the question whether it is a Mapping takes ten times as long."""

_IMAGES: Final = frozenset({"image", "image_url", "input_image", "computer_screenshot"})
_AUDIO: Final = frozenset({"audio", "audio_url", "input_audio"})
_OPAQUE: Final = frozenset(
    {"document", "file", "input_file", "file_url", "video", "video_url", "input_video", "item_reference"}
)
_REFERENCES: Final = frozenset(
    {"previous_response_id", "conversation", "cached_content", "cachedContent", "file_id", "file_uri", "fileUri"}
    | {"container", "mcp_servers", "vector_store_ids", "web_search_options"}
)
_SILENT: Final = frozenset({"role", "content", "type", "text", "messages", "model", "input", "prompt", "max_tokens"})
"""Fields that are structure: their names are not sent to a model."""
_DATA: Final = (
    "image_url", "source", "data", "url", "image", "input_audio", "audio", "audio_url", "file", "file_data",
    "video_url", "input_video", "document",
)  # fmt: skip
"""Where parts that are no text keep their data."""
_PLAIN: Final = frozenset({"tools", "functions", "response_format", "tool_calls", "function_call", "arguments"})
_INLINE: Final = frozenset({"inlineData", "inline_data"})
UNREAD: Final = frozenset(
    {"model", "metadata", "stream", "stream_options", "n", "best_of", "max_tokens", "max_completion_tokens", "user"}
    | {"max_output_tokens", "temperature", "top_p", "top_k", "seed", "store", "service_tier", "speed", "logprobs"}
    | {"presence_penalty", "frequency_penalty", "logit_bias", "timeout", "tool_choice", "parallel_tool_calls"}
)
"""Fields of a body that are about the answer, or for books: no provider puts them before a model."""
_OWN_TOOLS: Final = frozenset({"", "function", "custom"})
_LOCAL_TOOLS: Final = ("bash", "text_editor", "computer", "memory")
"""Described by the provider, carried out by the caller: they bring nothing in unseen."""


class Bound(NamedTuple):
    """`tokens` of all that is in the body; `audio` whether any of it is sound; `unseen` whether that is not all."""

    tokens: int
    audio: bool
    unseen: bool


def most_of(body: Mapping[str, object]) -> Bound:
    """The bound of a body. Raises InvalidRequestError for one of more than two million parts."""
    walk = _Walk()
    walk.all_of(body)
    return Bound(walk.tokens, walk.audio, walk.unseen)


class _Walk:
    """Sums over the tree, with stacks of its own: a body may be nested deeper than Python recurses."""

    __slots__ = ("audio", "nodes", "plain", "stack", "tokens", "unseen")

    def __init__(self) -> None:
        self.tokens, self.nodes = MESSAGE, 0
        self.audio = self.unseen = False
        self.stack: list[object] = []
        self.plain: list[object] = []
        """What is text whatever it says of itself: a tool's description may not call itself an image."""

    def all_of(self, body: Mapping[str, object]) -> None:
        self._table({name: value for name, value in body.items() if name not in UNREAD})
        while self.stack:
            node = self._next(self.stack)
            if isinstance(node, OBJECT):
                self._table(node)
            elif isinstance(node, LIST):
                self._list(node, self.stack)
            else:
                self._leaf(node)
        while self.plain:
            node = self._next(self.plain)
            if isinstance(node, OBJECT):
                self._list([*map(str, node), *node.values()], self.plain)
            elif isinstance(node, LIST):
                self._list(node, self.plain)
            else:
                self._leaf(node)

    def _next(self, stack: list[object]) -> object:
        self.nodes += 1
        if self.nodes > MOST_NODES:
            raise InvalidRequestError(f"The body has more than {MOST_NODES:,} parts; send it in several requests.")
        return stack.pop()

    def _leaf(self, node: object) -> None:
        if isinstance(node, str):
            self.tokens += 1 + _bytes(node)
        elif node is not None:
            self.tokens += node.bit_length() // 3 + 1 if isinstance(node, int) else NUMBER

    def _list(self, node: Sequence[object], stack: list[object]) -> None:
        if node and type(node[0]) is int and all(type(item) is int and 0 <= item < 1 << 31 for item in node):
            self.tokens += len(node)  # token numbers
            return
        for item in node:
            if type(item) is str:
                self.tokens += 1 + _bytes(item)
            else:
                stack.append(item)

    def _table(self, node: Mapping[str, object]) -> None:
        kind = _kind(node)
        image = kind in _IMAGES or "image_url" in node
        medium = not image and (kind in _AUDIO or kind in _OPAQUE)
        if image:
            self._image(node)
        elif medium:
            self._medium(node, sound=kind in _AUDIO)
        elif "role" in node:
            self.tokens += MESSAGE
        for name, value in node.items():
            if value is None or ((image or medium) and name in _DATA):
                continue
            if name in _INLINE and isinstance(value, OBJECT):
                self._inline(value)
            else:
                self._field(name, value)

    def _field(self, name: str, value: object) -> None:
        if name in _REFERENCES or (name == "prompt" and isinstance(value, OBJECT)):
            self.unseen = True
        elif name in ("tools", "functions"):
            self._tools(value)
        if name not in _SILENT:
            self.tokens += _bytes(str(name)) + 1
        if type(value) is str:
            self.tokens += 1 + _bytes(value)
        else:
            (self.plain if name in _PLAIN else self.stack).append(value)

    def _image(self, node: Mapping[str, object]) -> None:
        inner = node.get("image_url")
        detail = inner.get("detail") if isinstance(inner, OBJECT) else node.get("detail")
        self.tokens += SMALL_IMAGE if detail == "low" else IMAGE

    def _medium(self, node: Mapping[str, object], *, sound: bool) -> None:
        """Sound by the length of its data; of everything else, and of what is elsewhere, nothing is known."""
        chars = sum(_beneath(node.get(name)) for name in _DATA)
        self.audio = self.audio or sound
        self.tokens += chars // AUDIO_CHARS + 1
        self.unseen = self.unseen or not sound or chars < SHORT

    def _inline(self, node: Mapping[str, object]) -> None:
        """Google's own shape of a medium: an image, or what nothing is known of."""
        kind = str(node.get("mimeType") or node.get("mime_type") or "")
        self.tokens += IMAGE
        self.audio = self.audio or kind.startswith("audio/")
        self.unseen = self.unseen or not kind.startswith("image/")

    def _tools(self, tools: object) -> None:
        if not tools:
            return
        self.tokens += TOOLS
        for tool in tools if isinstance(tools, LIST) else ():
            kind = _kind(tool) if isinstance(tool, OBJECT) else ""
            own = kind in _OWN_TOOLS
            self.tokens += TOOL if own else BUILT_IN_TOOL
            self.unseen = self.unseen or not (own or kind.startswith(_LOCAL_TOOLS))


def _kind(node: Mapping[str, object]) -> str:
    """What a part or tool says it is; nothing where that is no text."""
    kind = node.get("type")
    return kind if isinstance(kind, str) else ""


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _beneath(node: object, depth: int = 4) -> int:
    """Characters of all texts in a small tree: where a dialect keeps its data."""
    if isinstance(node, str):
        return len(node)
    if isinstance(node, OBJECT) and depth:
        return sum(_beneath(value, depth - 1) for value in node.values())
    return 0
