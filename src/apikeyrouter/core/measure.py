"""What a request's body weighs, read once: characters of text, parts that are no text, and what it asks for.

This is the only place in the core that knows the shapes of bodies. It refuses what no provider can take, because such a
request would burn a hold and a provider's quota to learn the same. It counts nothing with a tokenizer: how many tokens
the characters become is learned in `tokens`. Never keeps or quotes text, which is the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

from apikeyrouter.core.bound import LIST, MESSAGE, OBJECT, UNREAD, most_of
from apikeyrouter.core.model import NO_NAMES
from apikeyrouter.errors import InvalidRequestError

MESSAGE_TOKENS: Final = 4
"""Role and separators of a chat message (published counting recipes use 3 to 4)."""
REPLY_TOKENS: Final = 3
TOOL_TOKENS: Final = 12
"""What a tool's definition adds to its text."""
IMAGE_TOKENS: Final = 1_100
SMALL_IMAGE_TOKENS: Final = 85
"""An image of common size at high detail (the published rules give 765 to 1,600), and one at low detail."""
AUDIO_CHARS: Final = 2_000
"""Base64 characters of audio to a token: 10 tokens a second (published), 20 kB a second for compressed speech."""
DOCUMENT_CHARS: Final = 50
"""Base64 characters of a document to a token: about 2,000 tokens and 100 kB a page."""
PREFIX_CHARS: Final = 4_096
"""What a prompt must share with another to find it in a cache: providers cache from 1,024 tokens on (published)."""

CAPS: Final[Mapping[str, tuple[str, ...]]] = {
    "chat": ("max_completion_tokens", "max_tokens"),
    "messages": ("max_tokens",),
    "completion": ("max_tokens",),
    "responses": ("max_output_tokens",),
}
"""What bounds an answer, by operation. Another operation's word bounds nothing: providers ignore it."""
_PLAIN: Final = UNREAD | {"messages"}
"""Fields of a body that is nothing but messages, beside what is asked of the answer."""
MOST_PLAIN: Final = 100_000
"""Messages above which the parts are counted, to refuse too many."""
TIERS: Final = ("batch", "flex", "priority")
"""Service tiers with prices of their own; `speed: fast` is one, too."""


@dataclass(slots=True)
class Measure:
    """A body's weight.

    `chars` are all characters of text (messages, system, tools, schema), `wide` how many of them are of scripts that
    take a character or two to a token; `fixed` are tokens that do not depend on text; `max_output_tokens` bounds all
    `answers` together, None where the body sets no bound. `most` are input tokens that nothing in the body exceeds
    (see `bound`), `unseen` that it also refers to what is not in it. `tier` is the service tier it asks for.
    """

    chars: int = 0
    fixed: int = 0
    images: int = 0
    max_output_tokens: int | None = None
    features: frozenset[str] = NO_NAMES
    wide: int = 0
    prefix: int = 0
    answers: int = 1
    most: int = 0
    unseen: bool = False
    tier: str = ""

    @property
    def most_tokens(self) -> int:
        """Input tokens no tokenizer makes more of: a token has a byte at least, and a wide character up to four."""
        return max(self.most, self.fixed + self.chars + 3 * self.wide)


def measure(operation: str, body: Mapping[str, object]) -> Measure:
    """The measure of a body; all zeros for an operation that is not one of language models.

    Raises InvalidRequestError, in one sentence that names the field, for a body that no provider can take.
    """
    read = _READERS.get(operation)
    if read is None:
        return Measure()
    tally = _plain(body) if read is _chat else None
    if tally is None:
        tally = _Tally()
        read(body, tally)
        tally.most, audio, tally.unseen = most_of(body)
        if audio:
            tally.features.add("audio")
    if body.get("stream"):
        tally.features.add("streaming")
    answers = _answers(body)
    return Measure(
        chars=tally.chars,
        fixed=tally.fixed,
        images=tally.images,
        max_output_tokens=0 if operation == "embeddings" else _cap(operation, body, answers),
        features=frozenset(tally.features) if tally.features else NO_NAMES,
        wide=tally.wide,
        prefix=tally.prefix(),
        answers=answers,
        most=tally.most,
        unseen=tally.unseen,
        tier=_tier(body),
    )


class _Tally:
    """Sums while a body is read."""

    __slots__ = ("beginning", "chars", "features", "fixed", "images", "most", "unseen", "wide")

    def __init__(self) -> None:
        self.chars = self.wide = self.fixed = self.images = self.most = 0
        self.beginning: list[str] = []
        self.unseen = False
        self.features: set[str] = set()

    def text(self, text: str) -> int:
        """Take in a text; its bytes."""
        size = len(text)
        if self.chars < PREFIX_CHARS:
            self.beginning.append(text)
        self.chars += size
        if text.isascii():
            return size
        # In UTF-8 a wide character has three bytes or more, an accented letter two.
        extra = len(text.encode("utf-8", "surrogatepass")) - size
        self.wide += min(size, (extra + 1) // 2)
        return size + extra

    def prefix(self) -> int:
        """A mark of the first PREFIX_CHARS characters and how they are divided; 0 for a shorter body."""
        if self.chars < PREFIX_CHARS:
            return 0
        mark, left = 0, PREFIX_CHARS
        for text in self.beginning:
            mark = hash((mark, text[:left]))
            left -= len(text)
        return mark

    def structure(self, value: object, where: str) -> None:
        """A JSON value by its printed length; nesting without end is refused."""
        try:
            self.text(value if isinstance(value, str) else str(value))
        except RecursionError:
            _refuse(f"{where} is nested too deeply to be sent; give it fewer than a thousand levels.")


def _refuse(sentence: str) -> NoReturn:
    raise InvalidRequestError(sentence)


def _plain(body: Mapping[str, object]) -> _Tally | None:
    """What `_chat` and `most_of` find in messages that are a role and a text each, in one round; None for others.

    Most bodies are so, and reading them twice took a tenth of a decision's time.
    """
    messages = body.get("messages")
    if type(messages) is not list or not 0 < len(messages) <= MOST_PLAIN or not body.keys() <= _PLAIN:
        return None
    tally, most = _Tally(), MESSAGE
    for message in messages:
        if type(message) is not dict or len(message) != 2:
            return None
        role, text = message.get("role"), message.get("content")
        if type(role) is not str or not role.isascii() or type(text) is not str:
            return None
        most += MESSAGE + 2 + len(role) + tally.text(text)
    tally.fixed, tally.most = REPLY_TOKENS + MESSAGE_TOKENS * len(messages), most
    return tally


def _chat(body: Mapping[str, object], tally: _Tally) -> None:
    messages = body.get("messages")
    if not isinstance(messages, LIST):
        _refuse("The body has no list of messages; send messages=[{'role': 'user', 'content': '...'}].")
    if not messages:
        _refuse("The body's messages are empty; send at least one message.")
    tally.fixed += REPLY_TOKENS + MESSAGE_TOKENS * len(messages)
    for at, message in enumerate(messages):
        if not isinstance(message, OBJECT):
            _refuse(f"messages[{at}] is a {type(message).__name__}; a message is an object with role and content.")
        if not isinstance(message.get("role"), str):
            _refuse(f"messages[{at}] has no role; give it one such as 'user'.")
        _content(message.get("content"), tally, "messages", at)
        if calls := message.get("tool_calls"):
            tally.structure(calls, "tool_calls")
    _content(body.get("system"), tally, "system")
    _tools(body, tally)
    _schema(body.get("response_format"), tally)
    _audio(body, tally)


def _content(content: object, tally: _Tally, where: str, at: int | None = None) -> None:
    if isinstance(content, str):
        tally.text(content)
    elif isinstance(content, LIST):
        for part in content:
            _part(part, tally, where)
    elif content is not None:
        name = where if at is None else f"{where}[{at}].content"
        _refuse(f"{name} is a {type(content).__name__}; it must be a string or a list of parts.")


def _part(part: object, tally: _Tally, where: str) -> None:
    """One part of a content list, by its type; an unknown type counts as text."""
    if isinstance(part, str):
        tally.text(part)
        return
    if not isinstance(part, OBJECT):
        _refuse(f"{where} has a part that is a {type(part).__name__}; a part is an object with a type.")
    kind = part.get("type")
    if kind in ("image", "image_url", "input_image"):
        _image(part, tally)
    elif kind in ("input_audio", "audio"):
        tally.features.add("audio")
        tally.fixed += 1 + _data_chars(part) // AUDIO_CHARS
    elif kind in ("document", "file", "input_file"):
        tally.features.add("documents")
        tally.fixed += 1 + _data_chars(part) // DOCUMENT_CHARS
    elif kind == "tool_result":
        _content(part.get("content"), tally, where)
    elif isinstance(text := part.get("text", part.get("thinking")), str):
        tally.text(text)
    else:
        tally.structure(part, where)


def _image(part: Mapping[str, object], tally: _Tally) -> None:
    source = part.get("image_url")
    detail = source.get("detail") if isinstance(source, OBJECT) else part.get("detail")
    tally.images += 1
    tally.fixed += SMALL_IMAGE_TOKENS if detail == "low" else IMAGE_TOKENS
    tally.features.add("images")


def _data_chars(part: Mapping[str, object]) -> int:
    """Characters of the data inside a part, wherever its dialect keeps them."""
    inner = [value for value in part.values() if isinstance(value, OBJECT)]
    return sum(len(text) for level in (part, *inner) for text in level.values() if isinstance(text, str))


def _tools(body: Mapping[str, object], tally: _Tally) -> None:
    for name in ("tools", "functions"):
        tools = body.get(name)
        if not tools:
            continue
        if not isinstance(tools, LIST):
            _refuse(f"{name} is a {type(tools).__name__}; it must be a list of tools.")
        tally.structure(tools, name)
        tally.fixed += TOOL_TOKENS * len(tools)
        tally.features.add("tools")


def _schema(form: object, tally: _Tally) -> None:
    """A response format; its schema is part of the prompt."""
    if isinstance(form, OBJECT) and form.get("type") == "json_schema":
        tally.structure(form, "response_format")
        tally.features.add("json_schema")


def _audio(body: Mapping[str, object], tally: _Tally) -> None:
    modalities = body.get("modalities")
    if body.get("audio") or (isinstance(modalities, LIST) and "audio" in modalities):
        tally.features.add("audio")


def _responses(body: Mapping[str, object], tally: _Tally) -> None:
    given = body.get("input")
    tally.fixed += REPLY_TOKENS + MESSAGE_TOKENS
    if isinstance(given, LIST):
        if not given:
            _refuse("The body's input is empty; send a text or at least one item.")
        for at, item in enumerate(given):
            if isinstance(item, OBJECT) and "role" in item:
                tally.fixed += MESSAGE_TOKENS
                _content(item.get("content"), tally, "input", at)
            else:
                _part(item, tally, "input")
    elif isinstance(given, str) and given:
        tally.text(given)
    elif given is not None or not (body.get("prompt") or body.get("previous_response_id")):
        _refuse("The body has no input; send input as a text or a list of items.")
    _content(body.get("instructions"), tally, "instructions")
    _tools(body, tally)
    form = body.get("text")
    _schema(form.get("format") if isinstance(form, OBJECT) else None, tally)


def _completion(body: Mapping[str, object], tally: _Tally) -> None:
    _texts(body.get("prompt"), tally, "prompt")


def _embeddings(body: Mapping[str, object], tally: _Tally) -> None:
    _texts(body.get("input"), tally, "input")


def _texts(given: object, tally: _Tally, name: str) -> None:
    """A text, a list of texts, or token numbers, which are counted exactly."""
    if isinstance(given, str) and given:
        tally.text(given)
    elif isinstance(given, LIST) and given:
        for item in given:
            if isinstance(item, str):
                tally.text(item)
            elif isinstance(item, Sequence):
                tally.fixed += len(item)
            elif isinstance(item, OBJECT):
                _part(item, tally, name)
            elif type(item) is int:
                tally.fixed += 1
            else:
                _refuse(f"{name} has an item that is a {type(item).__name__}; send texts or token numbers.")
    else:
        _refuse(f"The body has no {name}; send {name} as a text or a list of texts.")


def _cap(operation: str, body: Mapping[str, object], answers: int) -> int | None:
    """The most output tokens of all answers together."""
    most = 0
    for name in CAPS[operation]:
        if body.get(name) is not None:
            cap = _whole(body, name)
            if not cap:
                _refuse("The bound on the answer is 0 tokens; ask for at least one, or leave the bound out.")
            most = max(most, cap)
    return most * answers or None


def _tier(body: Mapping[str, object]) -> str:
    if body.get("speed") == "fast":
        return "fast"
    asked = body.get("service_tier")
    return asked if isinstance(asked, str) and asked in TIERS else ""


def _answers(body: Mapping[str, object]) -> int:
    if "n" not in body and "best_of" not in body:
        return 1
    counts = [_whole(body, name) for name in ("n", "best_of") if body.get(name) is not None]
    if 0 in counts:
        _refuse("n is 0; ask for at least one answer.")
    return max(counts, default=1)


def _whole(body: Mapping[str, object], name: str) -> int:
    value = body[name]
    if type(value) is not int or value < 0:
        _refuse(f"{name} is {_shown(value)}; it must be a whole number, 0 or more.")
    return value


def _shown(value: object) -> str:
    return str(value) if isinstance(value, int | float) else f"a {type(value).__name__}"


_READERS: Final = {
    "chat": _chat,
    "messages": _chat,
    "completion": _completion,
    "embeddings": _embeddings,
    "responses": _responses,
}
