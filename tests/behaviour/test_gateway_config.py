"""The Gateway's own Secrets Manager configuration: found in every place it may be in, and never written."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PureWindowsPath

import pytest

from pam_scripts.core import host
from pam_scripts.core.errors import BadInput
from pam_scripts.stores.keeper import configuration
from pam_scripts.stores.keeper.configuration import read_config
from sandbox.plant import Plant
from tests.support.invariants import Script, assert_silent, assert_true_state, writes

Write = Callable[[Plant], str]
CONFIG_FILES = host.POSIX.configurations


def as_json(plant: Plant) -> str:
    """Write the configuration as JSON."""
    return json.dumps(plant.keeper.config(), indent=4)


def as_base64(plant: Plant) -> str:
    """Write the configuration as Base64 of JSON."""
    return plant.keeper.config_base64()


def home_with(directory: Path, text: str) -> Path:
    """Put a configuration where a Gateway that is no service has it, below this home directory."""
    path = directory / ".keeper" / "gateway-config.json"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o400)
    return path


@pytest.mark.parametrize("write", [as_json, as_base64])
@pytest.mark.parametrize("variable", ["KSM_CONFIG", "GATEWAY_CONFIG"])
def test_the_environment_may_have_it(variable: str, write: Write, script: Script, plant: Plant) -> None:
    """Either variable serves, as JSON and as Base64 of it."""
    plant.set_field("dry_run", "True")

    result = script.run(plant, environment={"KSM_CONFIG": None, variable: write(plant)})

    assert (0, "") == (result.returncode, result.stderr)
    assert_silent(plant, result)


@pytest.mark.parametrize("write", [as_json, as_base64])
def test_a_file_in_the_home_directory_is_read_and_never_written(
    write: Write, script: Script, plant: Plant, tmp_path: Path
) -> None:
    """After a whole rotation its bytes, times and mode are what they were, and nothing lies beside it."""
    path = home_with(tmp_path, write(plant))
    before = path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ctime_ns, path.stat().st_mode

    result = script.run(plant, environment={"KSM_CONFIG": None, "HOME": str(tmp_path)})

    assert (0, "") == (result.returncode, result.stderr)
    assert before == (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ctime_ns, path.stat().st_mode)
    assert [path] == list((tmp_path / ".keeper").iterdir())
    assert {} == result.files_left
    assert_true_state(plant)
    assert_silent(plant, result)


def test_without_any_the_line_names_every_place(script: Script, plant: Plant) -> None:
    """Exit 2, with all variables and both files in the one line, and no request."""
    if Path(CONFIG_FILES[0]).exists():
        pytest.skip("this host is a Gateway's")

    result = script.run(plant, environment={"KSM_CONFIG": None})

    assert 2 == result.returncode
    assert 1 == len(result.stderr.splitlines())
    for place in ("PAM_SCRIPTS_KSM_CONFIG", "KSM_CONFIG", "GATEWAY_CONFIG", "AWS_KMS_SECRET_NAME", *CONFIG_FILES):
        assert place in result.stderr
    assert "nothing changed" in result.stderr
    assert [] == plant.wire.log


def bad_base64(_plant: Plant) -> str:
    """Write what is neither JSON nor Base64."""
    return "not a configuration!"


def a_list(_plant: Plant) -> str:
    """Write JSON of another kind, in Base64."""
    return base64.b64encode(b"[1, 2]").decode()


def unbound(plant: Plant) -> str:
    """Write a configuration that was never used: a one-time token and no keys."""
    return json.dumps({"hostname": plant.keeper.config()["hostname"], "clientKey": "one-time-token"})


@pytest.mark.parametrize(
    ("write", "part"),
    [
        (bad_base64, "KSM_CONFIG is not a Secrets Manager configuration"),
        (a_list, "KSM_CONFIG is not a Secrets Manager configuration"),
        (unbound, "KSM_CONFIG is not a bound Secrets Manager configuration: it lacks clientId, privateKey, appKey"),
    ],
)
def test_one_that_cannot_be_used_is_named(write: Write, part: str, script: Script, plant: Plant) -> None:
    """A variable that is set to something else is not passed over in silence."""
    result = script.run(plant, environment={"KSM_CONFIG": write(plant)})

    assert 2 == result.returncode
    assert 1 == len(result.stderr.splitlines())
    assert part in result.stderr
    assert [] == plant.wire.log


@pytest.mark.parametrize("name", ["privateKey", "appKey", "serverPublicKey"])
def test_a_damaged_key_in_it_is_told_without_the_key(name: str, script: Script, plant: Plant) -> None:
    """A configuration whose keys cannot be used ends in one line, and no write."""
    plant.set_field("deadline_seconds", "10")
    config = {**plant.keeper.config(), name: "AAAA" + plant.keeper.config()[name][:20]}

    result = script.run(plant, environment={"KSM_CONFIG": json.dumps(config)})

    assert result.returncode in (1, 2), result.stderr
    assert 1 == len(result.stderr.splitlines()), result.stderr
    assert config[name] not in result.stdout + result.stderr
    assert [] == writes(plant.wire.log)
    assert_silent(plant, result)


def test_a_file_that_may_not_be_read_is_named(script: Script, plant: Plant, tmp_path: Path) -> None:
    """A file that is there and cannot be read is told apart from none: exit 2 with its path."""
    path = tmp_path / ".keeper" / "gateway-config.json"
    path.mkdir(parents=True)  # root may read any file, but nobody reads a directory

    result = script.run(plant, environment={"KSM_CONFIG": None, "HOME": str(tmp_path)})

    assert 2 == result.returncode
    assert f"{path} is there, but cannot be read" in result.stderr
    assert "run as the Gateway's user" in result.stderr


# -- the order of the places, in the test's own process -------------------------------------------


@pytest.fixture(params=[host.POSIX, host.WINDOWS], ids=["posix", "windows"])
def places(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Take every place away, and stand two files of the test's own in for the real ones, on each kind of host."""
    paths = tmp_path / "etc.json", tmp_path / "home.json"
    monkeypatch.setattr(host, "HERE", replace(request.param, configurations=tuple(map(str, paths))))
    for variable in ("PAM_SCRIPTS_KSM_CONFIG", "KSM_CONFIG", "GATEWAY_CONFIG", "AWS_KMS_SECRET_NAME", "PROGRAMDATA"):
        monkeypatch.delenv(variable, raising=False)
    return paths


def config_of(name: str) -> str:
    """Write a bound configuration that can be told from others by its host."""
    bound = {"hostname": name, "clientId": "c", "privateKey": "a private key", "appKey": "an app key"}
    return json.dumps({**bound, "unknown": "x"})


def test_the_real_files_are_those_of_the_gateway() -> None:
    """The service's file comes before the one in the home directory; Windows' stand below PROGRAMDATA, set or not."""
    windows = [PureWindowsPath(path) for path in host.WINDOWS.configuration_files({})]

    assert ["/etc/keeper-gateway/gateway-config.json", "~/.keeper/gateway-config.json"] == (
        host.POSIX.configuration_files({"PROGRAMDATA": "C:\\Data"})
    )
    assert [
        "C:\\ProgramData\\KeeperGateway\\config\\gateway-config.json",
        "C:\\ProgramData\\KeeperGatewayPrivate\\gateway-config.json",
        "~\\.keeper\\gateway-config.json",
    ] == list(map(str, windows))
    assert host.WINDOWS.configuration_files({"PROGRAMDATA": "D:\\Data"})[0].startswith("D:\\Data")


def test_the_services_file_is_read_and_never_written(places: tuple[Path, Path]) -> None:
    """The first file serves where no variable is set; its bytes and times stay."""
    etc, _ = places
    etc.write_text(config_of("etc"), encoding="utf-8")
    before = etc.read_bytes(), etc.stat().st_mtime_ns, etc.stat().st_ctime_ns

    assert {"hostname": "etc", "clientId": "c", "privateKey": "a private key", "appKey": "an app key"} == read_config()
    assert before == (etc.read_bytes(), etc.stat().st_mtime_ns, etc.stat().st_ctime_ns)


@pytest.mark.parametrize("name", ["[::1", "a..b", "two words", "keepersecurity.com:0", ":443"])
def test_a_hostname_that_is_none_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is asked, and the place is named."""
    monkeypatch.setenv("KSM_CONFIG", config_of(name))

    with pytest.raises(BadInput, match=r"KSM_CONFIG is not a usable .* configuration: its hostname is none"):
        read_config()


def test_the_first_place_that_has_one_counts(places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """KSM_CONFIG, then GATEWAY_CONFIG, then the service's file, then the one in the home directory."""
    found = []
    for path, name in zip(reversed(places), ("home", "etc"), strict=True):
        path.write_text(config_of(name), encoding="utf-8")
        found.append(read_config()["hostname"])
    for variable in ("GATEWAY_CONFIG", "KSM_CONFIG"):
        monkeypatch.setenv(variable, config_of(variable))
        found.append(read_config()["hostname"])

    assert ["home", "etc", "GATEWAY_CONFIG", "KSM_CONFIG"] == found


def test_an_empty_variable_counts_as_none(places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is set to nothing, or to blanks, is passed over."""
    monkeypatch.setenv("KSM_CONFIG", "")
    monkeypatch.setenv("GATEWAY_CONFIG", "  ")
    places[1].write_text(config_of("home"), encoding="utf-8")

    assert "home" == read_config()["hostname"]


def test_a_file_without_a_configuration_is_named(places: tuple[Path, Path]) -> None:
    """A file that holds something else is told by its path."""
    places[0].write_text("{}", encoding="utf-8")

    with pytest.raises(BadInput, match=r"etc\.json is not a bound Secrets Manager configuration"):
        read_config()


# -- places of other hosts ------------------------------------------------------------------------


def test_a_variable_of_our_own_names_a_file_and_comes_first(
    places: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a Gateway was started with `--config-file`, nothing else tells its path."""
    places[0].write_text(config_of("etc"), encoding="utf-8")
    monkeypatch.setenv("KSM_CONFIG", config_of("KSM_CONFIG"))
    (tmp_path / "elsewhere.json").write_text(config_of("elsewhere"), encoding="utf-8")
    monkeypatch.setenv("PAM_SCRIPTS_KSM_CONFIG", str(tmp_path / "elsewhere.json"))

    assert "elsewhere" == read_config()["hostname"]
    monkeypatch.setenv("PAM_SCRIPTS_KSM_CONFIG", str(tmp_path / "nowhere.json"))
    with pytest.raises(BadInput, match="PAM_SCRIPTS_KSM_CONFIG names a file that cannot be read"):
        read_config()


@pytest.mark.usefixtures("places")
def test_on_windows_both_places_of_the_service_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They lie below PROGRAMDATA: the newer page's place before the older one's, and both in the line where none is."""
    monkeypatch.setattr(host, "HERE", host.WINDOWS)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PROGRAMDATA", str(tmp_path / "data"))
    newer = tmp_path / "data" / "KeeperGateway" / "config" / "gateway-config.json"
    older = tmp_path / "data" / "KeeperGatewayPrivate" / "gateway-config.json"
    with pytest.raises(BadInput, match="no Secrets Manager configuration") as none:
        read_config()
    assert str(newer) in str(none.value)
    assert str(older) in str(none.value)
    assert "/etc/" not in str(none.value), "no place of another system"

    found = []
    for path, name in ((older, "older"), (newer, "newer")):
        path.parent.mkdir(parents=True)
        path.write_text(config_of(name), encoding="utf-8")
        found.append(read_config()["hostname"])
    assert ["older", "newer"] == found


@pytest.fixture
def aws(places: tuple[Path, Path], plant: Plant, wired: object, monkeypatch: pytest.MonkeyPatch) -> Plant:  # noqa: ARG001
    """Return a plant on AWS whose Gateway has its configuration in a secret there, and lead this process to it."""
    key_id, key = plant.aws.add_identity("gateway")
    for name, value in (("ACCESS_KEY_ID", key_id), ("SECRET_ACCESS_KEY", key), ("REGION", plant.aws.regions[0])):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", plant.aws.regions[0])
    monkeypatch.setenv("AWS_KMS_SECRET_NAME", "plant/gateway")
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    return plant


@pytest.mark.parametrize("write", [as_json, as_base64])
def test_the_aws_secret_of_the_gateway_is_read_and_never_written(write: Write, aws: Plant) -> None:
    """With the host's own identity, as the Gateway does; before any file."""
    aws.aws.add_secret("plant/gateway", write(aws))

    assert aws.keeper.config() == read_config()
    assert [] == writes(aws.wire.log)


def test_an_aws_secret_that_cannot_be_read_is_told_with_the_way_out(aws: Plant) -> None:
    """The code that AWS gives, and the right that is missing; its own words are not repeated."""
    with pytest.raises(
        BadInput, match=r"AWS_KMS_SECRET_NAME names cannot be read \(ResourceNotFoundException\)"
    ) as none:
        read_config()
    assert "grant secretsmanager:GetSecretValue" in str(none.value)
    aws.aws.add_secret("plant/gateway", "US:" + "a" * 43)
    with pytest.raises(BadInput, match="one-time token"):
        read_config()


def test_where_boto3_is_not_installed_an_aws_secret_says_so(aws: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is an extra: without it nobody can read the secret."""
    assert aws.aws_secret == ""
    monkeypatch.setitem(sys.modules, "botocore.session", None)

    with pytest.raises(BadInput, match=r"boto3 that reads it is not installed; install requirements-aws\.txt"):
        read_config()


# -- how it may be written ------------------------------------------------------------------------


def in_lines(text: str) -> str:
    """Break Base64 as `base64` and `openssl` do."""
    encoded = base64.b64encode(text.encode()).decode()
    return "\r\n".join(encoded[start : start + 64] for start in range(0, len(encoded), 64)) + "\r\n"


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(in_lines, id="in-lines"),
        pytest.param(lambda text: "\ufeff" + text, id="byte-order-mark"),
        pytest.param(lambda text: base64.b64encode(b"\xef\xbb\xbf" + text.encode()).decode(), id="mark-within"),
        pytest.param(lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="), id="web-safe"),
        pytest.param(lambda text: f"'{base64.b64encode(text.encode()).decode()}'\n", id="in-quotes"),
    ],
)
def test_what_editors_and_consoles_add_is_of_no_account(
    write: Callable[[str], str], places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a variable as in a file."""
    monkeypatch.setenv("KSM_CONFIG", write(config_of("variable?>~")))
    assert "variable?>~" == read_config()["hostname"]
    monkeypatch.delenv("KSM_CONFIG")
    places[1].write_text(write(config_of("file?>~")), encoding="utf-8", newline="")
    assert "file?>~" == read_config()["hostname"]


def test_a_file_that_powershell_wrote_is_read(places: tuple[Path, Path]) -> None:
    """`>` of Windows PowerShell makes UTF-16 with a mark."""
    places[0].write_bytes(config_of("wide").encode("utf-16"))

    assert "wide" == read_config()["hostname"]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("US:" + "Ab_-" * 10 + "xyz", "KSM_CONFIG holds a one-time token, which is no configuration yet; redeem it"),
        ("Ab_-" * 10 + "xyz", "holds a one-time token"),
        ("/etc/keeper-gateway/gateway-config.json", "holds a path, .*; name the file in .* PAM_SCRIPTS_KSM_CONFIG"),
        ("~/ksm.json", "holds a path"),
        (r"C:\ProgramData\KeeperGateway\config\gateway-config.json", "holds a path"),
        ("ksm-config.json", "holds a path"),
        ('{"hostname": "x", "clientKey": "y"}', "a one-time token that nobody has redeemed"),
        ("eyJob3N0bmFtZSI6", "neither JSON nor Base64"),
    ],
)
@pytest.mark.usefixtures("places")
def test_what_is_no_configuration_is_told_in_the_right_words(
    text: str, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands there instead is named by its kind, and never shown."""
    monkeypatch.setenv("KSM_CONFIG", text)

    with pytest.raises(BadInput, match=part) as told:
        read_config()
    assert text not in str(told.value)


def test_an_empty_file_is_told(places: tuple[Path, Path]) -> None:
    """A volume that was mounted over it, for one."""
    places[0].touch()

    with pytest.raises(BadInput, match=r"etc\.json is empty"):
        configuration.find_config()
