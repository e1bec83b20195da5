#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes cases.json: small templates and what Jinja (3.1, set up as transformers does for chat templates) makes of
them for the messages below. Needs `pip install transformers jinja2`; neither the build nor the tests run this."""
import json
import pathlib

import jinja2
from transformers.utils.chat_template_utils import render_jinja_template

MESSAGES = [{"role": "system", "content": " Be brief. "}, {"role": "user", "content": "H\u00e9llo,\nworld"}, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nyes"}]
CASES = r"""
a{% if true %}
b
{% endif %}
c
---
a
  {% if true %}  
  b
  {% endif %}  
c
---
x   {%- if true -%}   y   {%- endif -%}   z
---
  {%+ if true %}a{%+ endif +%}
b
---
{%- for m in messages %}
    {{- m.role }}
{%- endfor %}
---
{% for m in messages %}
  {{ m.role }}
{% endfor %}
---
{# a comment #}
x {#- closes up -#}  y
  {# alone in its line #}
z
---
{{ 'a' }}
{{ 'b' -}}
  c
---
a {{- ' b ' -}} c
---
{{ "quotes \"in\" 'it'" }} {{ 'tab\there \\ \x41 \u00e9 \q' }} {{ 'two' ' parts' }}
---
{{ 1 + 2 * 3 - 4 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ (1 + 2) * 3 }} {{ -(2) }} {{ - 3 + 5 }}
---
{{ 'a' ~ 1 ~ none ~ true ~ nothing }} {{ 1 ~ 2 + 3 ~ 4 if false else 'x' }}
---
{{ 'a' + 'b' | upper }} {{ ('a' + 'b') | upper }} {{ 'a' ~ 'b' | upper }}
---
{{ 1 == 1 }} {{ 1 == true }} {{ 'a' == 'b' }} {{ 'a' != 'b' }} {{ 1 < 2 }} {{ 2 <= 1 }} {{ 'a' < 'b' }} {{ 3 > 2 }} {{ none == none }} {{ nothing == none }} {{ 'é' > 'z' }}
---
{{ not true }} {{ not false and true }} {{ true or false and false }} {{ not 1 == 2 }} {{ '' or 'x' }} {{ 'a' and 'b' }} {{ 0 or none }}
---
{{ 'a' in 'abc' }} {{ 'z' not in 'abc' }} {{ 1 in [1, 2] }} {{ 'role' in messages[0] }} {{ 'x' in messages[0] }} {{ 'a' in nothing }} {{ not 'a' in 'b' }}
---
{{ messages[0]['role'] }} {{ messages[-1].role }} {{ messages[0].nothing }} {{ messages[7] is defined }} {{ 'abc'[1] }} {{ 'héé'[-1] }}
---
{{ messages[1:] | length }} {{ messages[::-1][0].role }} {{ messages[:-1] | length }} {{ 'héllo'[1:3] }} {{ 'abc'[::-1] }} {{ 'abcdef'[::2] }} {{ 'abc'[5:] }} {{ 'abcdef'[-3:-1] }} {{ 'abcdef'[4:1:-1] }}
---
{{ nothing is defined }} {{ messages is defined }} {{ none is none }} {{ 'a' is string }} {{ messages is iterable }} {{ messages[0] is mapping }} {{ 'a' is mapping }} {{ 1 is integer }} {{ true is integer }} {{ true is boolean }} {{ 1 is number }} {{ messages is sequence }} {{ nothing is undefined }} {{ 'a' is not string }} {{ false is false }} {{ 0 is false }} {{ 1 is true }}
---
{{ 3 is odd }} {{ 4 is even }} {{ 6 is divisibleby 3 }} {{ 6 is divisibleby(4) }} {{ 'a' is equalto 'a' }} {{ 'a' is eq('b') }} {{ 'a' is ne 'b' }} {{ 'a' is in ['a'] }} {{ 'a' is in('xyz') }} {{ none is sameas none }}
---
{{ messages[0].content | trim }}|{{ messages[0].content.strip() }}|{{ messages[0].content.lstrip() }}|{{ messages[0].content.rstrip() }}|{{ 'xxaxx'.strip('x') }}|{{ '--a-'.lstrip('-') }}|{{ 'a\n\n'.rstrip('\n') }}|{{ 'abcba'.strip('ab') }}
---
{{ '\u00a0\u3000 a\u2028\x1c' | trim }}|{{ '\u200b a' | trim | length }}|{{ '  a b  '.split() | join('|') }}|{{ ' a  b c '.split(none, 1) | join('|') }}
---
{{ messages[2].content.split('</think>')[-1].lstrip('\n') }}|{{ messages[2].content.split('</think>')[0].split('<think>')[-1].strip('\n') }}|{{ 'a,b,c'.split(',', 1) | last }}|{{ 'abc'.split('x') | length }}|{{ ''.split('x') | length }}
---
{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith('bc') }} {{ 'abc'.startswith('b') }} {{ 'ABC'.lower() }} {{ 'abc'.upper() }} {{ 'hello world'.title() }} {{ 'hELLO wORLD'.capitalize() }} {{ 'a-b'.replace('-', '+') }} {{ 'aaa' | replace('a', 'b') }} {{ ','.join(['a', 'b']) }}
---
{{ messages | length }} {{ 'héllo' | length }} {{ messages | map(attribute='role') | join(', ') }} {{ messages | selectattr('role', 'equalto', 'user') | list | length }} {{ messages | rejectattr('role', 'equalto', 'user') | map(attribute='role') | list | join('-') }} {{ messages | selectattr('nothing') | list | length }} {{ (messages | first).role }} {{ (messages | last).role }} {{ ['a', '', 'b'] | select | join }} {{ [1, 2, 3] | reject('equalto', 2) | join }} {{ [1, 2] | select('odd') | join }}
---
{{ nothing | default('d') }} {{ '' | default('d') }} {{ '' | default('d', true) }} {{ none | d('x') }} {{ none | default('x', boolean=true) }} {{ 'v' | default('d') }}
---
{{ 'a"b\n\u00e9\t\\' | tojson }} {{ {'a': 1, 'b': [true, none, 'x']} | tojson }} {{ messages[0] | tojson }} {{ [] | tojson }} {{ {} | tojson }}
---
{% set x = 1 %}{% for i in range(3) %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}
---
{% set ns = namespace(n=0, s='') %}{% for i in range(1, 4) %}{% set ns.n = ns.n + i %}{% set ns.s = ns.s ~ i %}{% endfor %}{{ ns.n }} {{ ns.s }} {{ ns.nothing }}
---
{% for i in [1, 2, 3] %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.previtem }}{{ loop.nextitem }};{% endfor %}
---
{% for i in range(6) if i % 2 == 0 %}{{ loop.index }}:{{ i }}{{ ',' if not loop.last }}{% else %}none{% endfor %}
---
{% for i in [] %}x{% else %}empty{% endfor %}{% for i in nothing %}x{% else %}undefined{% endfor %}{% for c in 'hé' %}[{{ c }}]{% endfor %}
---
{% for k, v in messages[0].items() %}{{ k }}={{ v }};{% endfor %}{% for k in messages[0] %}{{ k }},{% endfor %}{% for k, v in {'x': 1} | items %}{{ k }}{{ v }}{% endfor %}
---
{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}
---
{% for m in messages %}{% for n in messages %}{{ loop.index }}{% endfor %}{{ loop.index }};{% endfor %}
---
{% set t %}a {{ 1 }} b{% endset %}[{{ t }}]{% set u = t | trim %}{{ u }}
---
{% macro hi(name, mark='!') %}hi {{ name }}{{ mark }}{% endmacro %}{{ hi('a') }} {{ hi('b', '?') }} {{ hi(name='c', mark='.') }} {{ hi() }}
---
{% set g = 'global' %}{% macro m() %}{{ g }}{{ messages | length }}{% endmacro %}{% for i in [1] %}{% set g = 'inner' %}{{ m() }}{{ g }}{% endfor %}
---
{% if messages[0].role == 'system' %}{% set first = messages[0].content %}{% endif %}{{ first }}{{ 'x' if first else 'y' }}{{ 'only' if false }}
---
{% if false %}a{% elif nothing %}b{% elif messages %}c{% else %}d{% endif %}{% if none %}{% else %}e{% endif %}
---
{{ 'a' if true else 'b' if true else 'c' }} {{ ('a' if false else 'b') + 'c' }} {{ 1 if 0 else 2 }}
---
{{ messages[0].get('role') }} {{ messages[0].get('x') }} {{ messages[0].get('x', 'y') }} {{ messages[0].keys() | list | join(',') }} {{ {'a': {'b': 'c'}}.a.b }} {{ {'a': 1}['a'] }}
---
{% generation %}x{% endgeneration %}{{ tools is none }}{{ documents is none }}{{ add_generation_prompt }}
---
{{ true }} {{ none }} {{ nothing }} {{ 12 }} {{ '' }}
---
{{- [1, 2] + [3] | list | length }}
---
{{ ([1, 2] + [3]) | length }} {{ [messages[0].role, 'x'] | join }} {{ 'a' 'b' }} {{ [1, 2] == [1, 2] }} {{ {'a': 1} == {'a': 1} }} {{ messages[0] == messages[0] }} {{ messages[0] != messages[1] }}
---
{{ strftime_now is defined }} {{ raise_exception is defined }} {{ namespace is callable }} {{ range is callable }}
---
{{ raise_exception('no, ' + messages[0].role) }}
---
{{ messages[0].content + none }}
---
{{ nothing.attribute }}
---
{{ nothing + 'x' }}
---
{{ 'a' + 1 }}
---
{{ messages[0].nothing.more }}
---
{{ nothing['x'] }}
---
{{ 1 // 0 }}
---
{% for x in none %}{% endfor %}
---
{{ 'a' < 1 }}
---
{{ none | length }}
---
{{ 1 in 'a' }}
---
{{ nothing() }}
---
{{ [1] in {'a': 1} }}
---
{{ 1 is integer in [true] }}
---
{% set messages = [] %}{{ messages | length }}{% set x.y = 1 %}
""".strip("\n")


def main():
    rows = []
    for template in CASES.split("\n---\n"):
        try:
            rendered, _ = render_jinja_template([MESSAGES], chat_template=template, add_generation_prompt=True)
            rows.append({"template": template, "text": rendered[0]})
        except (jinja2.TemplateError, TypeError, ZeroDivisionError) as error:
            refused = type(error) is jinja2.TemplateError
            rows.append({"template": template, "refused" if refused else "failed": str(error)})
    document = {"messages": MESSAGES, "cases": rows}
    pathlib.Path(__file__).with_name("cases.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


main()
