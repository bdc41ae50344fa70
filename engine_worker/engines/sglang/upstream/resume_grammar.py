"""Constrained answers that go on after tokens of an earlier attempt.

SGLang's grammars begin with the first token that an engine produces; what was produced elsewhere comes as
part of the prompt. So a request says in its grammar how many tokens at the prompt's end are the answer's,
and the backend here, around SGLang's own, lets the grammar accept those first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

from sglang.srt.plugins.hook_registry import HookRegistry, HookType
from xgrammar import GrammarCompiler

from engine_worker.engines.sglang.upstream import resume_mark

if TYPE_CHECKING:
    from sglang.srt.constrained.base_grammar_backend import BaseGrammarBackend, BaseGrammarObject

_FACTORY = "sglang.srt.constrained.grammar_manager.create_grammar_backend"
_MOST_GRAMMARS = 256
_COMPILED_BYTES = 256 << 20

# A grammar's kind and source; that of a resumed one ends with the tokens to accept first.
Key = tuple[str, str]


def register() -> None:
    """What SGLang calls in each of its processes."""
    HookRegistry.register(_FACTORY, _around, HookType.AROUND)


def _around(create: object, *arguments: object, **named: object) -> object:
    assert callable(create)
    backend = create(*arguments, **named)
    if backend is None:
        return None
    _bound(backend)
    return _resuming(backend)


def _bound(backend: BaseGrammarBackend) -> None:
    """SGLang keeps every grammar that it ever saw, and so does xgrammar."""
    for each in (backend, getattr(backend, "grammar_backend", None)):
        if each is None:
            continue
        each.cache = _Newest(_MOST_GRAMMARS)
        info = getattr(each, "_tokenizer_info", None)
        if info is not None:
            each.grammar_compiler = GrammarCompiler(info, cache_limit_bytes=_COMPILED_BYTES)


def _resuming(backend: BaseGrammarBackend) -> BaseGrammarBackend:
    """The same object, so that all that SGLang asks of a backend stays as it is, with three of its methods
    made to know resumed grammars.
    """
    plain_key = backend.get_request_grammar_key
    plain_value = backend.get_cached_or_future_value
    plain_cache = backend.set_cache

    def request_key(key: Key, *, input_ids: Sequence[int], thinking_budget: int | None) -> Key | _ResumedKey:
        kind, source = key
        source, count = resume_mark.read(source)
        if not count:
            return plain_key(key, input_ids=input_ids, thinking_budget=thinking_budget)  # type: ignore[no-any-return]
        at = len(input_ids) - count
        plain = plain_key((kind, source), input_ids=input_ids[:at], thinking_budget=thinking_budget)
        return _ResumedKey(plain, tuple(input_ids[at:]))

    def value(
        key: Key | _ResumedKey, require_reasoning: bool
    ) -> tuple[BaseGrammarObject | Future[BaseGrammarObject], bool]:
        if not isinstance(key, _ResumedKey):
            return plain_value(key, require_reasoning)  # type: ignore[no-any-return]
        made, is_cached = plain_value(key.plain, require_reasoning)
        return backend.executor.submit(_accept, made, is_cached, key.produced), False

    def cache(key: Key | _ResumedKey, grammar: BaseGrammarObject) -> None:
        # No other request will ever begin with these tokens.
        if not isinstance(key, _ResumedKey):
            plain_cache(key, grammar)

    backend.get_request_grammar_key = request_key
    backend.get_cached_or_future_value = value
    backend.set_cache = cache
    return backend


class _Newest(OrderedDict[Key, "BaseGrammarObject"]):
    """Forgets the oldest."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def __setitem__(self, key: Key, grammar: BaseGrammarObject) -> None:
        super().__setitem__(key, grammar)
        self.move_to_end(key)
        while len(self) > self._most:
            self.popitem(last=False)


class _ResumedKey(tuple[str, str]):
    """Looks like a plain key, for SGLang's messages."""

    plain: Key
    produced: tuple[int, ...]

    def __new__(cls, plain: Key, produced: tuple[int, ...]) -> _ResumedKey:
        key = super().__new__(cls, plain)
        key.plain = plain
        key.produced = produced
        return key


def _accept(
    made: BaseGrammarObject | Future[BaseGrammarObject], is_cached: bool, produced: Sequence[int]
) -> BaseGrammarObject:
    """Runs in the backend's threads. What raises here ends the request with the reason."""
    from sglang.srt.constrained.base_grammar_backend import InvalidGrammarObject

    grammar = made.result() if isinstance(made, Future) else made
    if isinstance(grammar, InvalidGrammarObject):
        return grammar
    for token in produced:
        grammar.accept_token(token)
    return grammar
