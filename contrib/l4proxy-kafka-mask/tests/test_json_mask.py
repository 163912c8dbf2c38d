import json

import pytest
from json_mask import NotJson, mask

FIELDS = {"name", "card"}


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ('{"id": 7, "name": "Ada", "card": 4111}', '{"id": 7, "name": "***", "card": 0   }'),
        ('{"name": true, "x": false}', '{"name": null, "x": false}'),
        ('{"name": false}', '{"name": null }'),
        ('{"name": {"first": "A"}, "b": [1]}', '{"name": null          , "b": [1]}'),
        ('{"name": [], "card": {}}', '{"name": [], "card": {}}'),
        ('{"name": [1]}', '{"name": []}'.replace("]}", "] }")),
        ('[{"a": {"card": -1.5e3}}]', '[{"a": {"card": 0     }}]'),
        (r'{"name": "a \"quoted\" one", "id": 1}', '{"name": "****************", "id": 1}'),
        (r'{"n\u0061me": "Ada"}', r'{"n\u0061me": "***"}'),
        ('{"id": "name", "x": ["name", "card"]}', '{"id": "name", "x": ["name", "card"]}'),
        ('{"x": {"id": 1}, "name":\n "é"} ', '{"x": {"id": 1}, "name":\n "**"} '),
        ('"name"', '"name"'),
    ],
)
def test_members_are_masked_in_their_place(text: str, masked: str) -> None:
    assert mask(text.encode(), FIELDS) == masked.encode()
    json.loads(masked)


@pytest.mark.parametrize("text", [b"\xff", b"{", b"[}", b'{"name": "Ada', b"{'name': 1}", b'{"a": 1}}'])
def test_what_is_no_json(text: bytes) -> None:
    with pytest.raises(NotJson):
        mask(text, FIELDS)
