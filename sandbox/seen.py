"""What the demo sees after each step: which keys log in, and which of them each place holds."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

import requests
from azure.identity import ClientSecretCredential
from azure.keyvault.secrets import SecretClient
from rich import box
from rich.console import RenderableType
from rich.table import Column, Table
from rich.text import Text

from pam_scripts.rotation.roles import NOT_TOLD
from sandbox.plant import AnyPlant, Issued
from sandbox.services.openbao import ENGINE, HOST

OPENBAO_SECRET = "plant/demo"

_READER = "reader"

Pair = tuple[str, str]
"""A key's id, and its value: an id alone may come again, as a user's name does with the next password."""


class Seen:
    """The keys of a plant, each with a letter and a colour from when it is first seen, also once it is gone.

    title: whose keys they are. ask: log in with a key, by its id and value, and return the HTTP status.
    """

    def __init__(self, plant: AnyPlant, title: str, ask: Callable[[AnyPlant, str, str], int]) -> None:
        self._plant = plant
        self._title = title
        self._ask = ask
        self._keys: dict[Pair, Issued] = {}

    def look(self) -> State:
        """Try each key and each place's credential with a real login."""
        for key in sorted(self._plant.issued(), key=lambda one: one.created_at):
            self._keys.setdefault((key.key_id, key.value), key)
        label_of_id, label_of_value = list(self._plant.outputs)[:2]
        in_keeper = self._in_keeper(label_of_id), self._in_keeper(label_of_value)
        in_mirror = read_openbao(self._plant) if self._plant.openbao_secrets else read_key_vault(self._plant)
        pairs = {"Keeper record": in_keeper, self.mirror: in_mirror}
        return State(
            self._title,
            dict(self._keys),
            {pair: self._logs_in(*pair) for pair in self._keys},
            pairs,
            {place: self._logs_in(*pair) for place, pair in pairs.items()},
        )

    @property
    def mirror(self) -> str:
        """What the place beside Keeper is called."""
        return mirror_of(self._plant)

    def _in_keeper(self, label: str) -> str:
        return self._plant.keeper.value(self._plant.user_uid, label) or ""

    def _logs_in(self, key_id: str, value: str) -> bool:
        return self._ask(self._plant, key_id, value) == HTTPStatus.OK


@dataclass(frozen=True)
class State:
    """What there is at one moment. alive: whether a key logs in; held: what a place holds.

    keys: all that were ever seen, in their order; well: whether what a place holds logs in, as a whole.
    """

    title: str
    keys: Mapping[Pair, Issued]
    alive: Mapping[Pair, bool]
    held: Mapping[str, Pair]
    well: Mapping[str, bool]

    def is_rotated_from(self, before: State) -> bool:
        """Say whether all places hold one new key that logs in, and those that they held before do not."""
        new = {*self.held.values()}
        gone = not any(self.alive[pair] for pair in before.held.values())
        return all(self.well.values()) and len(new) == 1 and not new & {*before.keys} and gone

    def is_split_from(self, before: State, *, one_lives: bool = False) -> bool:
        """Say whether the places hold an old key and a new one, and both log in; or, with one_lives, one of the two."""
        well = any(self.well.values()) if one_lives else all(self.well.values())
        return well and len({*self.held.values()} - {*before.keys}) == 1 == len({*self.held.values()} & {*before.keys})

    def is_brought_to_its_end_from(self, half: State) -> bool:
        """Say whether all places hold the newer key of those that they held, and the others do not log in."""
        newest = max({*half.held.values()}, key=list(half.keys).index)
        gone = not any(self.alive[pair] for pair in {*half.held.values()} - {newest})
        return all(self.well.values()) and {newest} == {*self.held.values()} and gone

    def shown(self, told: str) -> list[RenderableType]:
        """Return two tables, and what to see in them."""
        keys = table(self.title, "", _column("key"), "made", "logs in")
        for pair, key in self.keys.items():
            label = "by the script" if key.label.startswith("keeper:") else key.label
            made = "not told" if key.created_at == NOT_TOLD else f"{key.created_at:%Y-%m-%d} {label}"
            style = self._style(pair) if self.alive[pair] else "dim"
            keys.add_row(self._letter(pair), self._name(pair), made, _yes(self.alive[pair]), style=style)
        places = table("Where it is stored", "", "place", _column("holds the key"), "logs in")
        for place, pair in self.held.items():
            row = (self._letter(pair), place, self._name(pair), _yes(self.well[place]))
            places.add_row(*row, style=self._style(pair))
        return [keys, places, Text(told, "bold")]

    def _name(self, pair: Pair) -> str:
        """Return a key's id, and which one it is of those that had the same."""
        same = [each for each in self.keys if each[0] == pair[0]]
        number = same.index(pair) + 1 if pair in same else 1
        return pair[0] if number == 1 else f"{pair[0]}, no. {number}"

    def _letter(self, pair: Pair) -> str:
        return string.ascii_uppercase[list(self.keys).index(pair)] if pair in self.keys else "?"

    def _style(self, pair: Pair) -> str:
        return _COLOURS[list(self.keys).index(pair) % len(_COLOURS)] if pair in self.keys else "red"


_COLOURS = ("yellow", "bright_black", "cyan", "magenta", "green", "blue")


def table(title: str, *columns: str | Column) -> Table:
    """Return an empty table as all of the demo are."""
    return Table(*columns, title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)


def _column(head: str) -> Column:
    """Return a column of ids, which are never cut: they might look the same."""
    return Column(head, no_wrap=True, overflow="fold")


def _yes(truth: bool) -> str:
    return "yes" if truth else "refused"


def mirror_of(plant: AnyPlant) -> str:
    """Return what the place of a plant's mirror is called."""
    return "OpenBao" if plant.openbao_secrets else "Azure Key Vault"


def read_openbao(plant: AnyPlant) -> Pair:
    """Read the pair as a consumer would: as an AppRole that may read this secret and nothing else."""
    plant.openbao.allow(_READER, {f"{ENGINE}/data/{OPENBAO_SECRET}": ["read"]})
    role_id, secret_id = plant.openbao.add_approle(_READER)
    base, body = f"https://{HOST}/v1", {"role_id": role_id, "secret_id": secret_id}
    login = requests.post(f"{base}/auth/approle/login", json=body, timeout=10).json()
    headers = {"X-Vault-Token": login["auth"]["client_token"]}
    data = requests.get(f"{base}/{ENGINE}/data/{OPENBAO_SECRET}", headers=headers, timeout=10).json()["data"]["data"]
    label_of_id, label_of_value = list(plant.outputs)[:2]
    return data[label_of_id], data[label_of_value]


def read_key_vault(plant: AnyPlant) -> Pair:
    """Read the pair as a consumer would: with the official SDK, from wherever the environment leads."""
    credential = ClientSecretCredential(plant.tenant_id, plant.azure_app.client_id, plant.azure_secret)
    client = SecretClient(plant.vault_url, credential)
    return client.get_secret(plant.id_name).value or "", client.get_secret(plant.password_name).value or ""
