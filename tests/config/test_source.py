from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from l4proxy.config.source import parse_text, read_file, read_text
from l4proxy.config.structure import EnvironmentText
from l4proxy.errors import ConfigError


def write(folder: Path, text: str, name: str = "proxy.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_toml_and_json_say_the_same(tmp_path: Path) -> None:
    toml = read_file(write(tmp_path, '[[listeners]]\naddress = ":80"'))
    as_json = read_file(write(tmp_path, json.dumps(toml.data), "proxy.JSON"))
    assert toml.data == as_json.data == {"listeners": [{"address": ":80"}]}
    assert toml.folder == tmp_path
    assert toml.file == f"{tmp_path}/proxy.toml"


def test_lines(tmp_path: Path) -> None:
    assert read_file(write(tmp_path, "\na = 1\n")).line("a.b") == 2
    assert read_file(write(tmp_path, '{\n\n"a": 1}', "a.json")).line("a") == 3


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "bom.toml").write_bytes(b"\xef\xbb\xbfworkers = 1")
    assert read_file(tmp_path / "bom.toml").data == {"workers": 1}


class TestEnvironment:
    @pytest.fixture(autouse=True)
    def variables(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOST", "db.example")
        monkeypatch.setenv("EMPTY", "")
        monkeypatch.setenv("TRICKY", "${HOST} \\1")
        monkeypatch.delenv("UNSET", raising=False)

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("${HOST}", "db.example"),
            ("${HOST}:${UNSET:-5432}", "db.example:5432"),
            ("a ${EMPTY} b", "a  b"),
            ("${EMPTY:-default}", "default"),
            ("${UNSET:-}", ""),
            ("${UNSET:-a:-b}", "a:-b"),
            ("$${HOST}", "${HOST}"),
            ("$${HOST} ${HOST}", "${HOST} db.example"),
            ("$HOST $ {HOST} }", "$HOST $ {HOST} }"),
            ("${TRICKY}", "${HOST} \\1"),
        ],
    )
    def test_what_is_put_in(self, tmp_path: Path, text: str, value: str) -> None:
        data = read_file(write(tmp_path, json.dumps({"a": [{"b": text}]}), "a.json")).data
        assert data == {"a": [{"b": value}]}

    def test_text_remembers_that_it_is_from_the_environment(self, tmp_path: Path) -> None:
        data = read_file(write(tmp_path, 'a = "${HOST}"\nb = "plain"\nc = "$${HOST}"')).data
        assert [type(value) for value in data.values()] == [EnvironmentText, str, str]

    def test_keys_are_left_alone(self, tmp_path: Path) -> None:
        assert read_file(write(tmp_path, '"${HOST}" = 1')).data == {"${HOST}": 1}

    def test_all_that_is_not_set_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError) as caught:
            read_file(write(tmp_path, 'a = "${UNSET}"\nb = ["x",\n"${HOTS}"]'))
        assert [(problem.path, problem.line) for problem in caught.value.problems] == [("a", 1), ("b[1]", 3)]


class TestOtherFormats:
    def test_the_hook_reads_them(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOST", "db")
        path = write(tmp_path, "whatever", "proxy.yaml")
        source = read_file(path, lambda asked: {"name": asked.name, "host": "${HOST}"})
        assert source.data == {"name": "proxy.yaml", "host": "db"}
        assert source.line("name") == 0

    def test_what_the_hook_refuses(self, tmp_path: Path) -> None:
        def refuse(path: Path) -> dict[str, Any]:
            raise ValueError("line 3: tabs are not allowed")

        with pytest.raises(ConfigError, match=r"proxy\.yaml: line 3: tabs are not allowed"):
            read_file(write(tmp_path, "", "proxy.yaml"), refuse)

    def test_nobody_reads_it(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"reads \.toml and \.json; a file without suffix needs a plugin"):
            read_file(write(tmp_path, "", "proxy"), lambda path: None)

    def test_the_hook_is_not_asked_for_formats_of_the_core(self, tmp_path: Path) -> None:
        def refuse(path: Path) -> dict[str, Any]:
            raise AssertionError

        assert read_file(write(tmp_path, "workers = 1"), refuse).data == {"workers": 1}


class TestFilesThatCannotBeRead:
    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        write(tmp_path, "")
        with pytest.raises(
            ConfigError, match=r"prox\.toml: cannot be read: No such file .*did you mean '.*/proxy\.toml'"
        ):
            read_file(tmp_path / "prox.toml")

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(
            ConfigError, match=r"x\.toml: cannot be read: No such file or directory .there is no folder .*"
        ):
            read_file(tmp_path / "missing" / "x.toml")

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"cannot be read: Is a directory$"):
            read_file(tmp_path)


def test_the_text_of_a_file_stands_for_it_wherever_it_goes(tmp_path: Path) -> None:
    path = write(tmp_path, "workers = 1\nhost = '${UNSET:-here}'")
    text = read_text(path)
    path.unlink()
    source = parse_text(path, text)
    assert source.data == {"workers": 1, "host": "here"}
    assert source.line("host") == 2
    assert source.folder == tmp_path


def test_the_text_of_another_format_is_what_its_plugin_made_of_it(tmp_path: Path) -> None:
    path = write(tmp_path, "workers: 1", "proxy.yaml")
    text = read_text(path, lambda _path: {"workers": 1, "host": "${UNSET:-here}"})
    assert parse_text(path, text).data == {"workers": 1, "host": "here"}
