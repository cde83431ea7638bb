"""Chat templates: the dialect that model files use, and the fence around it."""

# ruff: noqa: E501 (templates are kept on one line, as model files have them)

from __future__ import annotations

import datetime
import json
import threading
import time

import pytest

from pyedge import ModelFileError
from pyedge.chat import ChatTemplate, check_messages, plain_text

HELLO = [{"role": "user", "content": "Hello"}]


def render(source: str, messages=HELLO, **options) -> str:
    return ChatTemplate(source, bos_token="<s>", eos_token="</s>").render(messages, **options)


CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def test_chatml():
    text = render(CHATML, [{"role": "system", "content": "Be brief."}, *HELLO])
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    )
    assert render(CHATML, add_generation_prompt=False) == "<|im_start|>user\nHello<|im_end|>\n"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        # Block tags take the line that they stand on with them.
        ("{%- for m in messages %}\n    {% if true %}\nx{{ m.content }}\n    {% endif %}\n{% endfor %}", "xHello\n"),
        ("{{ bos_token }}|{{ eos_token }}", "<s>|</s>"),
        ("{{ {'a': '<b>&\\'é'} | tojson }}", '{"a": "<b>&\'é"}'),
        ("{{ {'b': 1, 'a': [true, none]} | tojson(indent=2) }}", '{\n  "b": 1,\n  "a": [\n    true,\n    null\n  ]\n}'),
        ("{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}", "023"),
        ("{% for i in 'abc' %}{{ loop.index }}{{ loop.last }}{{ loop.length }} {% endfor %}", "1False3 2False3 3True3 "),
        ("{% set ns = namespace(n=0) %}{% for i in range(5) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}", "10"),
        ("{% macro f(x, obj='o') %}[{{ x }}{{ obj }}]{% endmacro %}{{ f('a') ~ f('b', obj='p') }}", "[ao][bp]"),
        ("{% generation %}{{ messages[0].content }}{% endgeneration %}", "Hello"),
        ("{{ messages[0]['content'][1:3] }}{{ messages[::-1][0].role }}", "eluser"),
        ("{{ ['b', 'a'] | sort | join(', ') }}", "a, b"),
        ("{{ messages | map(attribute='role') | join('+') }}", "user"),
        ("{{ messages | join(';', attribute='content') }}", "Hello"),
        ("{{ messages | selectattr('role', 'equalto', 'user') | list | length }}", "1"),
        ("{{ 'a-b'.split('-') | last }}{{ ' x '.strip() }}{{ 'ab'.replace('b', 'c') }}", "bxac"),
        ("{{ '%s=%d' % ('a', 3) }} {{ '{}-{:>3}'.format('x', 'y') }}", "a=3 x-  y"),
        ("{% for k, v in messages[0].items() %}{{ k }}:{{ v }} {% endfor %}", "role:user content:Hello "),
        ("{% for a in [1, [2, [3]]] recursive %}{% if a is number %}{{ a }}{% else %}{{ loop(a) }}{% endif %}{% endfor %}", "123"),
        ("{% if tools is none and documents is none %}plain{% endif %}{{ undefined_thing }}", "plain"),
        ("{% set x %}{{ 'in' }}{% endset %}{{ x | upper | trim }}{{ 7 // 2 }}{{ 2 ** 5 }}{{ 'ab' * 2 }}", "IN332abab"),
    ],
)  # fmt: skip
def test_dialect(source, expected):
    assert render(source) == expected


def test_tools_and_dates():
    tool = {"type": "function", "function": {"name": "f", "description": "a < b"}}
    assert json.loads(render("{{ tools[0] | tojson }}", tools=[tool])) == tool
    assert render("{{ strftime_now('%Y') }}") == datetime.datetime.now().strftime("%Y")


def test_template_may_refuse_the_messages():
    with pytest.raises(ValueError, match="refuses these messages: roles must alternate"):
        render("{{ raise_exception('roles must alternate') }}")


def test_messages_stay_unchanged():
    messages = [{"role": "user", "content": "x"}]
    with pytest.raises(ModelFileError):
        render("{{ messages.append(1) }}", messages)
    assert messages == [{"role": "user", "content": "x"}]


ENDLESS = {
    "nested loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}",
    "loop of text": "{% for a in range(99999) %}" + "x" * 5000 + "{% endfor %}",
    "recursive macro": "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
    "branching macro": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "recursive loop": "{% for a in [1] recursive %}{{ loop([1, 1]) }}{% endfor %}",
    "doubling +": "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "doubling ~": "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "doubling lists": "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "nesting lists": "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}",
    "nesting dicts": "{% set n = namespace(x=1) %}{% for i in range(60) %}{% set n.x = dict(a=n.x, b=n.x) %}{% endfor %}{{ n.x }}",
    "comparing nests": "{% set n = namespace(x=[1], y=[1]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% set n.y = [n.y, n.y] %}{% endfor %}{{ n.x == n.y }}",
    "namespace in itself": "{% set n = namespace() %}{% set n.x = n %}{{ n }}",
    "repeat": "{{ 'x' * 10 ** 9 }}",
    "repeat list": "{{ [0] * 999999999 }}",
    "power": "{{ 9 ** (9 ** 9) }}",
    "growing product": "{% set n = namespace(x=3) %}{% for i in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}",
    "range": "{% for i in range(10 ** 12) %}{% endfor %}",
    "big range list": "{% for i in range(10000) %}{% set x = range(99999) | list %}{% endfor %}",
    "center": "{{ 'x' | center(10 ** 9) }}",
    "constant center": "{{ 'x' | center(1000000000) }}",
    "ljust": "{{ 'x'.ljust(10 ** 9) }}",
    "indent": "{{ 'x\n' * 9999 | indent(9999) }}{{ ('x\n' * 9999) | indent(9999) }}",
    "format width": "{{ '%1000000000d' % 1 }}",
    "format star": "{{ '%*d' % (1000000000, 1) }}",
    "format filter": "{{ '%1000000000d' | format(1) }}",
    "str.format": "{{ '{:1000000000}'.format(1) }}",
    "str.format nested": "{{ '{:{}}'.format(1, 1000000000) }}",
    "replace": "{% set x = 'x' * 9999 %}{{ (x * 99).replace('x', x) }}",
    "replace filter": "{% set x = 'x' * 9999 %}{{ (x * 99) | replace('x', x) }}",
    "join": "{% set x = 'x' * 9999 %}{{ x.join(x) }}",
    "join filter": "{% set x = 'x' * 9999 %}{{ x | join(x) }}",
    "join attribute": "{% set x = {'a': 'x' * 999999} %}{{ ([x] * 9999) | join(attribute='a') }}",
    "slices": "{% set n = namespace(x=[]) %}{% set t = 'x' * 999999 %}{% for i in range(9999) %}{% set n.x = n.x + [t[1:]] %}{% endfor %}",
    "expandtabs": "{{ ('\t' * 9999).expandtabs(9999) }}",
    "batch": "{% for i in range(9999) %}{% set x = [1] | batch(9999, 0) | list %}{% endfor %}",
    "slice": "{% for i in range(9999) %}{% set x = [1] | slice(9999) | list %}{% endfor %}",
    "json indent": "{{ messages | tojson(indent=1000000000) }}",
    "map center": "{{ ['x'] | map('center', 1000000000) | list }}",
    "strftime": "{{ strftime_now('%1000000000Y') }}",
    "big macro output": "{% macro m() %}" + "{{ x }}" * 2000 + "{% endmacro %}{% set x = 'x' * 999999 %}{{ m() ~ m() }}",
    "set block": "{% set x %}{% for i in range(99999) %}" + "y" * 4000 + "{% endfor %}{% endset %}",
    "lipsum": "{{ lipsum(n=1000000) }}",
    "huge integers": "{{ ('9' * 9999) | int }}{% for i in range(99999) %}{{ 10 ** 3000 }}{% endfor %}",
}  # fmt: skip

UNSAFE = {
    "class": "{{ ''.__class__ }}",
    "mro": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "attr filter": "{{ messages | attr('__class__') }}",
    "item": "{{ messages['__class__'].x }}",
    "globals": "{{ raise_exception.__globals__ }}",
    "namespace init": "{{ namespace.__init__.__globals__ }}",
    "format attribute": "{{ '{0.__class__}'.format(1) }}",
    "map attribute": "{{ messages | map(attribute='__class__') | list }}",
    "import": "{% import 'os' as os %}",
    "include": "{% include '/etc/passwd' %}",
    "mutate": "{{ messages[0].update({'role': 'x'}) }}",
}

BROKEN = {
    "unclosed": "{% for m in messages %}",
    "unknown tag": "{% frobnicate %}",
    "unknown filter": "{{ 'x' | frobnicate }}",
    "unknown test": "{{ 'x' is frobnicated }}",
    "undefined attribute": "{{ messages[0].nothing.at.all }}",
    "type": "{{ 1 + 'x' }}",
    "division": "{{ 1 // 0 }}",
    "not iterable": "{% for x in 5 %}{% endfor %}",
    "not callable": "{{ messages() }}",
    "deep": "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "deep blocks": "{% if true %}" * 300 + "{% endif %}" * 300,
    "long": "x" * (1 << 21),
}


@pytest.mark.parametrize("source", ENDLESS.values(), ids=ENDLESS.keys())
def test_endless_templates_end(source):
    before = time.monotonic()
    with pytest.raises(ModelFileError, match=r"tokenizer\.chat_template"):
        render(source)
    assert time.monotonic() - before < 60  # a hang, not a speed: the clock inside ends at ten


@pytest.mark.parametrize("source", UNSAFE.values(), ids=UNSAFE.keys())
def test_unsafe_templates_are_refused(source):
    with pytest.raises(ModelFileError, match=r"tokenizer\.chat_template"):
        render(source)


@pytest.mark.parametrize("source", BROKEN.values(), ids=BROKEN.keys())
def test_broken_templates_are_refused(source):
    with pytest.raises(ModelFileError, match=r"tokenizer\.chat_template"):
        render(source)


def test_reason_is_one_line_and_names_the_model():
    template = ChatTemplate("{{ ''.__class__ }}", where="some/model.gguf")
    with pytest.raises(ModelFileError) as caught:
        template.render(HELLO)
    assert str(caught.value).startswith("some/model.gguf: tokenizer.chat_template is not safe to run")
    assert "__class__" in str(caught.value) and "\n" not in str(caught.value)


def test_budget_grows_with_the_conversation():
    messages = [{"role": "user", "content": "word " * 200_000} for _ in range(20)]
    assert len(render(CHATML, messages)) > 20_000_000
    many = [{"role": "user", "content": "word"}] * 20_000
    source = "{% for m in messages %}{% if loop.index0 < messages | length %}{{ m.role ~ m.content }}{% endif %}{% endfor %}"
    assert len(render(source, many)) == 160_000


def test_budget_is_fresh_for_each_rendering():
    template = ChatTemplate("{% for i in range(99999) %}{{ i }}{% endfor %}")
    assert len({template.render(HELLO) for _ in range(30)}) == 1


def test_threads_share_a_template():
    template = ChatTemplate(CHATML)
    results: list[str] = []

    def work(name: str) -> None:
        for _ in range(50):
            results.append(template.render([{"role": name, "content": name}]))

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 200 and len(set(results)) == 4


@pytest.mark.parametrize(
    ("messages", "error", "said"),
    [
        ("Hello", TypeError, "list of dicts"),
        ({"role": "user", "content": "x"}, TypeError, "list of dicts"),
        ([], ValueError, "at least one"),
        (["Hello"], TypeError, r"messages\[0\] must be a dict"),
        ([{"content": "x"}], ValueError, r"messages\[0\].*'role'"),
        ([{"role": "", "content": "x"}], ValueError, "'role'"),
        ([*HELLO, {"role": "user"}], ValueError, r"messages\[1\].*'content'"),
        ([{"role": "user", "content": 5}], ValueError, "'content'"),
        ([{"role": "user", "content": [{"type": "image"}]}], ValueError, "'content'"),
    ],
)
def test_wrong_messages(messages, error, said):
    with pytest.raises(error, match=said):
        check_messages(messages)


def test_content_parts_and_tool_calls():
    check_messages([{"role": "user", "content": [{"type": "text", "text": "x"}]}])
    check_messages([{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}])
    assert plain_text([*HELLO, {"role": "user", "content": [{"type": "text", "text": "x"}]}]) == "Hello\nx"
