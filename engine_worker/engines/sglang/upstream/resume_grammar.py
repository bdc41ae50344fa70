"""Resume a constrained answer after tokens that another worker produced.

SGLang's grammars begin with the first token that an engine produces, but a resumed answer's earlier tokens
are part of its prompt. So the request says in front of its grammar how many tokens at the prompt's end belong
to the answer (resume_mark.py), and the grammar accepts those tokens before the first new one:

    worker process                        scheduler process of SGLang
    --------------                        ---------------------------
    environment.prepare()
      resume_mark.choose(): a secret ---> inherited in the environment
                                          start-up: SGLang loads the plugin, which calls register()
                                          create_grammar_backend() -> _around(): bound the caches, and replace
                                            the three methods below
    RequestBuilder._resume()
      resume_mark.write()
    Engine.async_generate() -- request -> the grammar manager asks the backend for the request's grammar:
                                            get_request_grammar_key()     request_key(): mark -> _ResumedKey
                                            get_cached_or_future_value()  value(): a future of _accept()
                                          a thread of the backend runs _accept(): wait until the plain grammar
                                            is compiled, then accept_token() for each earlier token
                                          the grammar manager takes the future's result, and
                                            set_cache()                   cache(): not for a _ResumedKey

A request without a mark takes SGLang's own path in all three methods.
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
_MAX_GRAMMARS = 256
_COMPILED_BYTES = 256 << 20

# A grammar's kind and source; that of a resumed one ends with the tokens to accept first.
Key = tuple[str, str]


def register() -> None:
    """The plugin's entry point: SGLang calls it in each of its processes."""
    HookRegistry.register(_FACTORY, _around, HookType.AROUND)


def _around(create: object, *arguments: object, **named: object) -> object:
    assert callable(create)
    backend = create(*arguments, **named)
    if backend is None:
        return None
    _bound_caches(backend)
    return _resuming(backend)


def _bound_caches(backend: BaseGrammarBackend) -> None:
    """Bound the caches: SGLang and xgrammar keep every grammar that they have compiled."""
    for each in (backend, getattr(backend, "grammar_backend", None)):
        if each is None:
            continue
        each.cache = _BoundedCache(_MAX_GRAMMARS)
        info = getattr(each, "_tokenizer_info", None)
        if info is not None:
            each.grammar_compiler = GrammarCompiler(info, cache_limit_bytes=_COMPILED_BYTES)


def _resuming(backend: BaseGrammarBackend) -> BaseGrammarBackend:
    """Replace three methods of the backend by ones that know resumed grammars.

    The object stays the same, so that everything else that SGLang asks of a backend works as before.
    """
    plain_key = backend.get_request_grammar_key
    plain_value = backend.get_cached_or_future_value
    plain_cache = backend.set_cache

    def request_key(key: Key, *, input_ids: Sequence[int], thinking_budget: int | None) -> Key | _ResumedKey:
        kind, source = key
        source, count = resume_mark.read(source)
        if not count:
            return plain_key(key, input_ids=input_ids, thinking_budget=thinking_budget)  # type: ignore[no-any-return]  # SGLang is untyped
        at = len(input_ids) - count
        plain = plain_key((kind, source), input_ids=input_ids[:at], thinking_budget=thinking_budget)
        return _ResumedKey(plain, tuple(input_ids[at:]))

    def value(
        key: Key | _ResumedKey, require_reasoning: bool
    ) -> tuple[BaseGrammarObject | Future[BaseGrammarObject], bool]:
        if not isinstance(key, _ResumedKey):
            return plain_value(key, require_reasoning)  # type: ignore[no-any-return]  # SGLang is untyped
        made, is_cached = plain_value(key.plain, require_reasoning)
        return backend.executor.submit(_accept, made, is_cached, key.produced), False

    def cache(key: Key | _ResumedKey, grammar: BaseGrammarObject) -> None:
        # No other request will begin with these tokens.
        if not isinstance(key, _ResumedKey):
            plain_cache(key, grammar)

    backend.get_request_grammar_key = request_key
    backend.get_cached_or_future_value = value
    backend.set_cache = cache
    return backend


class _BoundedCache(OrderedDict[Key, "BaseGrammarObject"]):
    """Keeps the `size` newest grammars."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    def __setitem__(self, key: Key, grammar: BaseGrammarObject) -> None:
        super().__setitem__(key, grammar)
        self.move_to_end(key)
        while len(self) > self._size:
            self.popitem(last=False)


class _ResumedKey(tuple[str, str]):
    """The key of a resumed grammar; a tuple like a plain key, for SGLang's messages."""

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
    """Runs in the backend's threads. An exception here fails the request with its message."""
    from sglang.srt.constrained.base_grammar_backend import InvalidGrammarObject

    grammar = made.result() if isinstance(made, Future) else made
    if isinstance(grammar, InvalidGrammarObject):
        return grammar
    for token in produced:
        grammar.accept_token(token)
    return grammar
