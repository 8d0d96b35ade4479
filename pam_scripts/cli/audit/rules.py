"""What can be wrong with one rotation, and the way out of it: judged from what was seen, asking nobody.

Rules stand in the order of urgency, with what judges by them below; `RULES` is all of them in that order.
What judges says nothing of a healthy record. While a rotation is at work on a record, keys and copies are
on their way, and rules about them keep silent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from itertools import takewhile

from pam_scripts import __version__
from pam_scripts.cli.audit.build import Build
from pam_scripts.cli.audit.finding import SEVERITIES, Finding, Rule
from pam_scripts.cli.audit.subject import Mirror, Subject
from pam_scripts.core.errors import BadInput
from pam_scripts.core.fields import Field, normalised
from pam_scripts.core.times import iso
from pam_scripts.gateway import request
from pam_scripts.rotation.ops_log import OPS_LOG, ROTATED_AT
from pam_scripts.rotation.roles import Key
from pam_scripts.rotation.seen import Trouble

_TOLERANCE = timedelta(minutes=2)
_LONG_AGO = datetime(1970, 1, 1, tzinfo=timezone.utc)
_HIDDEN_TYPES = ("secret", "password")

Judge = Callable[[Subject], Iterator[Finding]]
"""Finds what is wrong with one record by the rules that stand above it."""

_ALWAYS: list[Judge] = []
_AT_REST: list[Judge] = []


def _always(judge: Judge) -> Judge:
    """Have a function judge every record."""
    _ALWAYS.append(judge)
    return judge


def _at_rest(judge: Judge) -> Judge:
    """Have a function judge records that no rotation is at work on, and whose keys can work."""
    _AT_REST.append(judge)
    return judge


def judge(subject: Subject) -> list[Finding]:
    """Return everything that is wrong with one record, the most urgent first."""
    judges = _ALWAYS if subject.at_work or subject.trouble else _ALWAYS + _AT_REST
    found = [
        *subject.findings,
        *subject.trouble,
        *(finding for each in judges for finding in each(subject)),
    ]
    # Each says the second one in a way that leads further.
    for telling, implied in ((SAME_TARGET, OTHER_RECORD), (NO_SCRIPT, NO_ADMIN), (NO_ROOM, OLD_KEYS)):
        if any(finding.rule == telling for finding in found):
            found = [finding for finding in found if finding.rule != implied]
    return sorted(found, key=urgency)


def urgency(finding: Finding) -> tuple[int, int]:
    """Return what findings are sorted by."""
    return SEVERITIES.index(finding.severity), RULES.index(finding.rule)


# -- the key that Keeper holds --------------------------------------------------------------------

EXPIRED = Rule(
    "expired",
    "the key in Keeper has expired",
    "broken",
    "Whoever logs in with what Keeper holds is refused.",
    "rotate now, then find out why no rotation came in time",
)
NO_LIVE_KEY = Rule(
    "no-live-key",
    "the target has no live key",
    "broken",
    "Nothing logs in to the target any more.",
    "rotate now",
)
NOT_ALIVE = Rule(
    "not-alive",
    "the key in Keeper is not among the live keys",
    "broken",
    "The issuer has other keys than the one that Keeper holds.",
    "rotate now; the key was deleted outside Keeper",
)


@_at_rest
def _of_key_in_keeper(subject: Subject) -> Iterator[Finding]:
    present, alive = subject.present, subject.alive
    if subject.seen is None:
        return
    if present and present.expires_at and present.expired(subject.now):
        yield EXPIRED.found(f"key {present.id} expired at {iso(present.expires_at)}")
    elif not alive:
        yield NO_LIVE_KEY.found(f"no key of {subject.seen.name} logs in")
    elif subject.key_id and present is None:
        # Its id is not shown: where no issuer lists it, it may be the value, entered in the wrong field.
        yield NOT_ALIVE.found(f"the key in Keeper is deleted; alive: {_names(alive)}")


# -- the target, the fields, the admin credential: most are found where they are read and asked for

ARCHIVED = Rule(
    "archived",
    "the target is archived",
    "broken",
    "The issuer lets none of its keys log in.",
    "restore it, or stop rotating it",
)
GONE = Rule(
    "gone",
    "the target is not there",
    "broken",
    "The issuer has no target with the record's id or name.",
    "check the id; or stop rotating, and delete the record",
)
IDENTITY_PROVIDER = Rule(
    "identity-provider",
    "the application can have no access keys (OIDC)",
    "broken",
    "It logs in through an identity provider.",
    "rotate its secret there, and delete this record",
)
USER = Rule(
    "user",
    "the user's keys cannot work",
    "broken",
    "The user is disabled, or their keys are, or they have not logged in for too long.",
    "enable the user, or stop rotating the key",
)
SETTING = Rule(
    "setting",
    "a field is missing or wrong",
    "broken",
    "A rotation stops at it before it touches anything.",
    "correct the field",
)
ATTACHED = Rule(
    "attached",
    "an attached record is not shared",
    "broken",
    "A rotation would not get the record that its script settings name.",
    "share it to the Gateway's application",
)
NO_ADMIN = Rule(
    "no-admin",
    "no admin credential",
    "broken",
    "A rotation has nothing to log in with.",
    "attach one to the script",
)
ADMIN_REFUSED = Rule(
    "admin-refused",
    "the admin credential is refused",
    "broken",
    "The issuer does not let it log in.",
    "correct the admin record",
)
ADMIN_RIGHTS = Rule(
    "admin-rights",
    "the admin credential lacks a right",
    "broken",
    "It logs in, but a rotation would be refused.",
    "grant what is missing",
)
NOT_ALLOWED = Rule(
    "not-allowed",
    "the admin record does not allow this target",
    "broken",
    "A rotation is refused before anything is made.",
    "ask the owner of the admin record to add the target to 'allow_targets', or for another target",
)
CANNOT_LOG_IN = Rule(
    "cannot-log-in",
    "what Keeper holds cannot log in",
    "broken",
    "Its issuer has disabled it, or the target: an application, a resource's keys, an access key that is inactive.",
    "have it enabled",
)
POLICY = Rule(
    "policy",
    "a policy forbids the secret that a rotation would make",
    "broken",
    "Entra refuses it, whatever the admin application may do.",
    "lower 'expiry_days', or have the policy's owner exempt the application",
)
NO_ROOM = Rule(
    "no-room",
    "the target can have no further key",
    "broken",
    "Its issuer makes none until another one is deleted.",
    "delete the one that is not in use",
)
ADMIN_OWN_KEY = Rule(
    "admin-own-key",
    "the admin credential is a key of the target itself",
    "broken",
    "A rotation would delete the very key that it is logged in with.",
    "attach the credential of a user administrator",
)
NOT_READABLE = Rule(
    "not-readable",
    "the issuer could not be asked",
    "broken",
    "The record's keys could not be checked.",
    "run `check` for this record",
)


@_at_rest
def _of_limit(subject: Subject) -> Iterator[Finding]:
    if subject.seen and subject.issuer:
        names = (*subject.seen.known_as, subject.target)
        if record := subject.issuer.limit.refused_by(*names):
            yield NOT_ALLOWED.found(f"{subject.seen.name} is not among those that {record} allows")


@_at_rest
def _of_admin(subject: Subject) -> Iterator[Finding]:
    login_id = subject.issuer.login_id if subject.issuer else ""
    if subject.seen and login_id and login_id in {key.id for key in subject.seen.keys}:
        yield ADMIN_OWN_KEY.found(
            f"the admin credential is key {login_id} of this target, which a rotation would delete"
        )


# -- the record -----------------------------------------------------------------------------------

NOT_EDITABLE = Rule(
    "not-editable",
    "the record is not editable",
    "broken",
    "A rotation could not save what it made.",
    "give the application 'Can Edit' on the shared folder",
)
NOT_PAM_USER = Rule(
    "not-pam-user",
    "the record is not a PAM User",
    "broken",
    "Keeper rotates no other type of record.",
    "change the record's type to PAM User",
)
DUPLICATE_FIELD = Rule(
    "duplicate-field",
    "a field is in the record twice",
    "broken",
    "It is not clear which of them readers get.",
    "delete the extra ones: a rotation refuses the record until then",
)
UNKNOWN_FIELD = Rule(
    "unknown-field",
    "a field is not read, and its label is nearly that of one that is",
    "look",
    "Its label is nearly one of ours; what it says has no effect.",
    "correct its label, or give it one that is quite different",
)
HALF_CREDENTIAL = Rule(
    "half-credential",
    "the record holds half a credential",
    "broken",
    "The id of a key without its value, or the value without the id, cannot log in.",
    "rotate: that makes and stores a whole credential",
)


@_always
def _of_record(subject: Subject) -> Iterator[Finding]:
    if not subject.is_editable:
        yield NOT_EDITABLE.found("the Gateway's application may read the record, but not save it")
    if subject.record_type.lower() != "pamuser":
        yield NOT_PAM_USER.found(f"its record type is {subject.record_type or 'unknown'}, which has no rotation")
    named = [normalised(str(item.get("label") or "")) for item in subject.items]
    for label in (*subject.shape.record_labels, *subject.shape.expiry_labels, ROTATED_AT.label, OPS_LOG.label):
        if named.count(normalised(label)) > 1:
            yield DUPLICATE_FIELD.found(f"the field '{label}' is in the record more than once")


@_at_rest
def _of_credential(subject: Subject) -> Iterator[Finding]:
    present, missing = subject.shape.id_label, subject.shape.value_label
    if subject.holds_value:
        present, missing = missing, present
    # Where clients do not name the id, the value alone logs in.
    halved = subject.holds_value != bool(subject.key_id)
    if halved and (subject.key_id or subject.shape.logs_in_by_id):
        yield HALF_CREDENTIAL.found(
            f"'{present}' is filled in, '{missing}' is empty: the record's credential cannot log in"
        )


# -- other records --------------------------------------------------------------------------------

OTHER_RECORD = Rule(
    "other-record",
    "a live key belongs to another record",
    "broken",
    "A rotation refuses to delete what another record's has made.",
    "let one record rotate the target; 'take_over' = 'True' for one rotation moves it here",
)
SAME_TARGET = Rule(
    "same-target",
    "several records rotate the same target",
    "broken",
    "Each would end the other's key, or is refused for it.",
    "keep one of the records, delete the others",
)


@_at_rest
def _of_owners(subject: Subject) -> Iterator[Finding]:
    foreign = _foreign(subject)
    if foreign and not subject.take_over:
        key = foreign[0]
        yield OTHER_RECORD.found(f"key {key.id} was made for the Keeper record {key.owner}")


def _foreign(subject: Subject) -> list[Key]:
    return [key for key in subject.alive if key.owner not in ("", subject.uid)]


def find_shared_targets(subjects: Sequence[Subject]) -> None:
    """Add SAME_TARGET to the findings of records that rotate the same target: only together do they show it."""
    twins: dict[Hashable, list[Subject]] = {}
    for subject in subjects:
        for key in _rotated_by(subject):
            twins.setdefault(key, []).append(subject)
    for subject in subjects:
        sharing = [one for key in _rotated_by(subject) for one in twins[key] if one is not subject]
        others = ", ".join(dict.fromkeys(one.record.shown for one in sharing))
        if others and subject.issuer:
            way_out = SAME_TARGET.way_out
            if subject.issuer.shares:
                way_out += "; or give their keys different labels"
            what = f"{subject.target} is also rotated by {others}: {subject.issuer.rivalry}"
            subject.findings.append(SAME_TARGET.found(what, way_out))


def _rotated_by(subject: Subject) -> list[Hashable]:
    """Return what tells each target of a record from others; nothing where it is not known."""
    if not (subject.issuer and subject.target):
        return []
    seen = subject.seen
    ids = (seen.id, *seen.beside) if seen else (subject.target,)
    return [(subject.script.stem, subject.issuer.server, one.lower(), subject.issuer.shares) for one in ids]


# -- the script that is attached ------------------------------------------------------------------

NO_SCRIPT = Rule(
    "no-script",
    "no script is attached",
    "soon",
    "A rotation through the Gateway replaces no key; broken where Keeper changes the value, since no mirror gets it.",
    "attach dist/SCRIPT.py with its command: `pam rotation script add`",
    at_worst="broken",
)
NO_COMMAND = Rule(
    "no-command",
    "the attached script has no command",
    "look",
    "The Gateway's host decides which interpreter runs it, and whether that has the packages.",
    "enter the virtualenv's Python as its command: `pam rotation script edit --script-command`",
)
SEVERAL_SCRIPTS = Rule(
    "several-scripts",
    "several scripts are attached",
    "look",
    "Keeper runs each of them at every rotation; two of ours would replace the key twice.",
    "keep one of them, and take the others out: `pam rotation script delete`",
)
OLD_BUILD = Rule(
    "old-build",
    "an older version of the script ran last",
    "look",
    "Fixes made since then do not reach this record.",
    "attach the file of this version in its place, then rotate: the next run clears this",
)
OTHER_BUILD = Rule(
    "other-build",
    "another build of this version ran last",
    "look",
    "Its file holds something else than the one that other records of the script are rotated by.",
    "attach the same file to all, or say with --builds which ones are meant; the next run clears this",
)


@_always
def _of_script(subject: Subject) -> Iterator[Finding]:
    attached = subject.attached_scripts
    if not attached and subject.record_type.lower() == "pamuser":
        way_out = f"attach dist/{subject.script.stem}.py with its command: `pam rotation script add {subject.uid}`"
        yield NO_SCRIPT.found("its rotation has nothing to run", way_out, at_worst=subject.keeper_made_it)
    if bare := [one for one in attached if not str(one.get("command") or "").strip()]:
        which = "the script's command is empty" if len(attached) == 1 else f"{len(bare)} of its scripts have no command"
        yield NO_COMMAND.found(which)
    if len(attached) > 1:
        yield SEVERAL_SCRIPTS.found(f"{len(attached)} scripts are attached, and one is meant to be")


@_always
def _of_build(subject: Subject) -> Iterator[Finding]:
    build = subject.build
    if build and build.is_older:
        yield OLD_BUILD.found(f"build {build.name} ran last{_when(build)}, this is version {__version__}")


def find_other_builds(subjects: Sequence[Subject], built: Mapping[str, Collection[str]]) -> None:
    """Add OTHER_BUILD to the findings of records that another file of this version has rotated.

    built: by script the names of the builds that are meant; of a script without any, the one that ran last.
    """
    running: dict[str, list[tuple[Subject, Build]]] = {}
    for subject in subjects:
        if (build := subject.build) and build.digits and build.is_of_this_version:
            running.setdefault(subject.script.stem, []).append((subject, build))
    for stem, group in running.items():
        newest = max((build for _, build in group), key=lambda build: build.ran_at or _LONG_AGO)
        meant = built.get(stem) or {newest.name}
        for subject, build in group:
            if build.name not in meant:
                named = ", ".join(sorted(meant))
                what = f"build {build.name} ran last{_when(build)}; expected is {named}"
                subject.findings.append(OTHER_BUILD.found(what))


def _when(build: Build) -> str:
    return f" at {iso(build.ran_at)}" if build.ran_at else ""


# -- mirrors --------------------------------------------------------------------------------------

VAULT_UNREADABLE = Rule(
    "vault-unreadable",
    "a mirror could not be asked",
    "broken",
    "The mirror could not be compared with Keeper.",
    "check that it is there",
)
VAULT_REPLICA = Rule(
    "vault-replica",
    "a mirror in AWS is a replica",
    "broken",
    "It can be read alone: a rotation stops at it before it touches anything.",
    "name the primary, by its region in 'aws_region' or its ARN in 'aws_secret_id'",
)
VAULT_MANAGED = Rule(
    "vault-managed",
    "a mirror in AWS is another service's",
    "broken",
    "Only that service of AWS writes it: a rotation stops at it before it touches anything.",
    "name a secret of your own in 'aws_secret_id'",
)
VAULT_ROTATED = Rule(
    "vault-rotated",
    "AWS itself rotates a mirror",
    "broken",
    "Its value changes beside Keeper: a rotation stops at it before it touches anything.",
    "turn its rotation off, or take it out of 'aws_secret_id'",
)
VAULT_MISSING = Rule(
    "vault-missing",
    "a secret is missing in a mirror",
    "broken",
    "Consumers that read it get nothing.",
    "rotate: that sets it",
)
VAULT_DELETED = Rule(
    "vault-deleted",
    "a deleted secret still has its name in a mirror",
    "broken",
    "No rotation can set it before it is recovered or purged.",
    "recover it, or purge it; then rotate",
)
VAULT_DISABLED = Rule(
    "vault-disabled",
    "a secret in a mirror is disabled",
    "broken",
    "Consumers that read it get nothing.",
    "rotate: that sets a new version",
)
VAULT_FOREIGN = Rule(
    "vault-foreign",
    "a secret in a mirror belongs to another target",
    "broken",
    "A rotation refuses to write over it.",
    "give one of the two records another name for its secrets",
)
VAULT_MIXED = Rule(
    "vault-mixed",
    "a mirror holds a mixed pair",
    "broken",
    "Its secrets come from different rotations, and cannot log in together.",
    "rotate: that sets them all",
)
VAULT_DIFFERS = Rule(
    "vault-differs",
    "a mirror holds another rotation's key than Keeper",
    "broken",
    "Consumers that read the vault log in with something else than what Keeper holds, or not at all.",
    "rotate: that stores the same key everywhere; stop whoever else writes to the mirror",
)
VAULTS_DIFFER = Rule(
    "vaults-differ",
    "the mirrors hold different rotations",
    "broken",
    "At most one of them has what Keeper holds.",
    "rotate: that stores the same key everywhere",
)
VAULT_PREVIOUS = Rule(
    "vault-previous",
    "a second name does not hold the value before",
    "broken",
    "Services that still send the value before are refused by those that accept two, once these read anew.",
    "rotate: that stores both; stop whoever else writes there",
)
_MIRROR_STATES = {
    "missing": {VAULT_MISSING, VAULT_DELETED, VAULT_DISABLED},
    "mixed": {VAULT_MIXED},
    "differs": {VAULT_DIFFERS, VAULTS_DIFFER, VAULT_FOREIGN, VAULT_PREVIOUS},
}


def mirror_state(subject: Subject) -> str:
    """Say in a word how the mirrors compare with Keeper: same, differs, mixed, missing, unknown, or none wanted."""
    if not subject.places:
        return "unknown" if subject.wants_mirrors and not subject.issuer else "none"
    if len(subject.mirrors) + len(subject.second_mirrors) < len(subject.places) + len(subject.second_places):
        return "unknown"
    found = {finding.rule for finding in _of_mirrors(subject)}
    undisturbed = "same" if subject.rotation_id else "unknown"
    return next((state for state, rules in _MIRROR_STATES.items() if rules & found), undisturbed)


@_at_rest
def _of_mirrors(subject: Subject) -> Iterator[Finding]:
    """Look at each mirror by itself, then at all of them: by the rotation that is noted beside each secret."""
    for mirror in (*subject.mirrors, *subject.second_mirrors):
        yield from _of_tags(subject, mirror)
        if subject.published:
            yield from _of_presence(mirror)
    if subject.published:
        yield from _of_rotations(subject)
        yield from _of_second_names(subject)


def _of_tags(subject: Subject, mirror: Mirror) -> Iterator[Finding]:
    tag = subject.shape.owner_tag
    owners = {name: secret.tags.get(tag) for name, secret in mirror.secrets.items()}
    foreign = [name for name, owner in owners.items() if owner not in (None, subject.target)]
    if foreign:
        yield VAULT_FOREIGN.found(
            f"{', '.join(foreign)} in {mirror.name}: tagged as belonging to {owners[foreign[0]]}",
            f"give one of the two records another '{mirror.naming}'",
        )


def _of_presence(mirror: Mirror) -> Iterator[Finding]:
    if mirror.deleted:
        names = ", ".join(mirror.deleted)
        yield VAULT_DELETED.found(f"{names} in {mirror.name}: deleted, but not purged, so that it cannot be set")
    if mirror.absent:
        yield VAULT_MISSING.found(f"{', '.join(mirror.absent)}: not in {mirror.name}")
    if disabled := ", ".join(name for name, secret in mirror.secrets.items() if not secret.enabled):
        yield VAULT_DISABLED.found(
            f"{disabled} in {mirror.name}: its newest version is disabled, consumers get nothing"
        )
    if len(mirror.rotations) > 1:
        named = ", ".join(f"{name} of {secret.rotation_id or 'none'}" for name, secret in mirror.secrets.items())
        yield VAULT_MIXED.found(
            f"the secrets in {mirror.name} come from different rotations ({named}): they cannot log in together"
        )


def _of_rotations(subject: Subject) -> Iterator[Finding]:
    """Compare mirrors with Keeper, or with each other where nothing tells which rotation Keeper holds."""
    ours = subject.rotation_id
    noted = {mirror.name: mirror.rotations.pop() for mirror in subject.mirrors if len(mirror.rotations) == 1}
    other = {vault: theirs for vault, theirs in noted.items() if theirs != ours}
    held = ", ".join(
        f"{vault} holds {f'rotation {theirs}' if theirs else 'a value that no rotation has stored'}"
        for vault, theirs in (other if ours else noted).items()
    )
    if ours and other:
        yield VAULT_DIFFERS.found(f"{held}, Keeper rotation {ours}")
    elif not ours and len(set(noted.values())) > 1:
        yield VAULTS_DIFFER.found(held)


def _of_second_names(subject: Subject) -> Iterator[Finding]:
    """See that the last rotation has set each second name, or left there what the one before had set."""
    done = [entry for entry in subject.log if entry["result"] in ("rotated", "old_keys_alive")]
    # A roll back that is done again moves nothing.
    again = len([*takewhile(lambda entry: entry["rolled_back_to"], done)])
    ours = subject.rotation_id
    known = {ours, *(entry["rotation_id"] for entry in done[: max(again, 1) + 1])}
    for mirror in subject.second_mirrors if ours else ():
        for name, secret in mirror.secrets.items():
            theirs = secret.rotation_id
            if theirs not in known:
                what = f"what rotation {theirs} has set" if theirs else "a value that no rotation has stored"
                yield VAULT_PREVIOUS.found(
                    f"{name} in {mirror.name} holds {what}, Keeper rotation {subject.rotation_id}"
                )


# -- consumers ------------------------------------------------------------------------------------

CONSUMER_UNREADABLE = Rule(
    "consumer-unreadable",
    "the consumers could not be asked",
    "broken",
    "A rotation stops at them before it touches anything.",
    "check `container_apps` and `subscription_id`",
)
CONSUMER_GONE = Rule(
    "consumer-gone",
    "a consumer does not exist",
    "broken",
    "A rotation stops at it before it touches anything.",
    "correct its name in `container_apps`, or take it out",
)
CONSUMER_VERSION = Rule(
    "consumer-version",
    "a consumer reads a fixed version",
    "soon",
    "It keeps the old key whatever a rotation publishes, and is refused once that is deleted.",
    "take the version out of the app's reference to Key Vault",
)
CONSUMER_ILL = Rule(
    "consumer-ill",
    "a consumer is not healthy",
    "soon",
    "A rotation waits for it, fails, and puts everything back.",
    "repair the app, or take it out of `container_apps`",
)
CONSUMER_ELSEWHERE = Rule(
    "consumer-elsewhere",
    "a consumer refers to none of the record's secrets",
    "look",
    "It is restarted at every rotation, and its platform does not read the key for it.",
    "give the app a reference to the secret; where it reads Key Vault by itself, all is well",
)


@_always
def _of_consumers(subject: Subject) -> Iterator[Finding]:
    wanted = subject.vault_addresses
    for name, seen in subject.consumers.items():
        if seen is None:
            yield CONSUMER_GONE.found(f"there is no container app {name} in the resource group that the record names")
            continue
        ours = {url for url in seen.references if _without_version(url) in wanted}
        fixed = sorted(url for url in ours if url.lower().rstrip("/") not in wanted)
        if fixed:
            what = f"container app {name} refers to one version of {_without_version(fixed[0]).rpartition('/')[2]}"
            yield CONSUMER_VERSION.found(what)
        # One that reads nothing by reference may well read the vault by itself.
        elif wanted and seen.references and not ours:
            yield CONSUMER_ELSEWHERE.found(f"container app {name} refers to other secrets in Key Vault only")
        if seen.trouble and not subject.at_work:
            yield CONSUMER_ILL.found(f"container app {name}: {seen.trouble}")


def _without_version(url: str) -> str:
    """Return the address of a secret, in small letters, of one that may name a version too."""
    return "/".join(url.lower().rstrip("/").split("/")[:5])


# -- the rotation before, and the next one --------------------------------------------------------

LAST_FAILED = Rule(
    "last-failed",
    "the last rotation failed",
    "soon",
    "What it was to replace is still in use; broken where Keeper had changed the value already.",
    "fix what the message names, then rotate again",
    at_worst="broken",
)
EXPIRES_FIRST = Rule(
    "expires-first",
    "the key expires before its next rotation",
    "soon",
    "Whoever logs in with it will be refused until that rotation.",
    "rotate now: the next key lives as long as 'expiry_days' says",
)
EXPIRES_SOON = Rule(
    "expires-soon",
    "the key expires soon",
    "soon",
    "Its end is near, and no rotation is known to come before.",
    "rotate now, and look whether the record's rotation is scheduled",
)
SHORT_LIFE = Rule(
    "short-life",
    "keys live shorter than the time between rotations",
    "soon",
    "Each key ends before the next one is made.",
    "raise 'expiry_days', or rotate more often",
)
OVERDUE = Rule(
    "overdue",
    "the rotation is overdue",
    "soon",
    "More days have passed since the last one than are meant to.",
    "look whether the record's rotation is scheduled, and at the Gateway's log",
)
USER_LOGIN = Rule(
    "user-login",
    "the user must log in, or the key stops working early",
    "soon",
    "Keys of users work for a time after their login only, and that is shorter than the time between rotations.",
    "have the user log in, or let keys work for longer",
)


@_at_rest
def _of_log(subject: Subject) -> Iterator[Finding]:
    """Read how the last rotation ended, where it came so far that it wrote its log."""
    for last in subject.log[:1]:
        if last["result"] in ("failed", "uncertain") and last["error"]:
            what = f"at {last['date'] or 'an unknown time'}: {last['error']}"
            yield LAST_FAILED.found(what, at_worst=subject.keeper_made_it)


@_at_rest
def _of_time(subject: Subject) -> Iterator[Finding]:
    now, present, every, life = subject.now, subject.present, subject.every, subject.life_days
    if every and life is not None and life <= every:
        yield SHORT_LIFE.found(
            f"'expiry_days' is {life}, rotations are {every} days apart: each key ends before it is replaced",
            f"raise 'expiry_days' above {every}, or rotate more often",
        )
    if (present is None and subject.script.has_keys) or subject.present_has_ended:
        return
    ends, due = present.expires_at if present else None, subject.due
    days = (ends - now).total_seconds() / 86400 if ends else math.inf
    if due and present and ends and now < due and ends <= due and (life or 0) > (every or 0):
        yield EXPIRES_FIRST.found(f"key {present.id} ends at {iso(ends)}, its next rotation is due at {iso(due)}")
    elif present and ends and days < subject.cadence.warn_days and not (due and now < due < ends):
        yield EXPIRES_SOON.found(f"key {present.id} ends in {days:.0f} days, at {iso(ends)}")
    elif due and now > due + timedelta(days=1):
        yield OVERDUE.found(f"a rotation was due at {iso(due)}, {(now - due).days} days ago, and did not run")


# -- the schedule, as Commander lists it ----------------------------------------------------------

NO_GATEWAY = Rule(
    "no-gateway",
    "nothing can run the rotation",
    "broken",
    "Its PAM Configuration or its Gateway was removed, and the rotation still names it.",
    "give the rotation a PAM Configuration: `pam rotation edit --config`",
)
NO_ROTATION = Rule(
    "no-rotation",
    "no rotation is set up",
    "soon",
    "Commander lists none for the record: none was set up, or whoever made the list may not see it.",
    "set one up: `pam rotation edit`",
)
ROTATION_DISABLED = Rule(
    "rotation-disabled",
    "the rotation is disabled",
    "soon",
    "It has been set up, and neither the schedule nor anybody can start it.",
    "enable it: `pam rotation edit --enable`",
)
NO_SCHEDULE = Rule(
    "no-schedule",
    "no schedule rotates the record",
    "soon",
    "It is rotated when someone presses Rotate, and at no other time.",
    "give it a schedule: `pam rotation edit --schedulecron`",
)

_EDIT = "pam rotation edit --record {uid}"
_NEXT_COMMANDS = {
    "disabled": (ROTATION_DISABLED, "Commander's list says that it is disabled", "--enable --force"),
    "on demand": (NO_SCHEDULE, "its rotation is on demand only", '--schedulecron "0 0 4 1 */2 ?" --force'),
    "no configuration": (NO_GATEWAY, "its PAM Configuration was removed", "--config CONFIGURATION --force"),
    "no gateway": (NO_GATEWAY, "the Gateway of its PAM Configuration was removed", "--config CONFIGURATION --force"),
}
"""By what keeps a schedule from running: the rule, what is wrong, and the rest of the command that mends it."""


@_always
def _of_schedule(subject: Subject) -> Iterator[Finding]:
    if subject.cadence.schedules is None or subject.record_type.lower() != "pamuser":
        return
    edit, schedule = _EDIT.format(uid=subject.uid), subject.schedule
    if schedule is None:
        options = '--rotation-profile scripts_only --config CONFIGURATION --schedulecron "0 0 4 1 */2 ?" --enable'
        yield NO_ROTATION.found("Commander's list of rotations does not have it", f"`{edit} {options} --force`")
    elif schedule.state in _NEXT_COMMANDS:
        rule, what, options = _NEXT_COMMANDS[schedule.state]
        yield rule.found(what, f"`{edit} {options}`")


# -- flags ----------------------------------------------------------------------------------------

DRY_RUN = Rule(
    "dry-run",
    "'dry_run' was left on",
    "soon",
    "Rotations look and change nothing; broken where Keeper changes the value, since no mirror gets it.",
    "set 'dry_run' to 'False'",
    at_worst="broken",
)
DIAGNOSE = Rule(
    "diagnose",
    "'diagnose' was left on",
    "soon",
    "Runs report on their host, and rotate nothing; broken where Keeper changes the value, since no mirror gets it.",
    "set 'diagnose' to 'False'",
    at_worst="broken",
)


@_always
def _of_flags(subject: Subject) -> Iterator[Finding]:
    effects = (
        (DRY_RUN, request.DRY_RUN, "rotations change nothing"),
        (DIAGNOSE, request.DIAGNOSE, "no rotation is done"),
    )
    for rule, field, effect in effects:
        if _is_on(field, subject):
            lost = "Keeper changes the password, and no mirror gets it"
            what = f"'{field.label}' is 'True': {lost if subject.keeper_made_it else effect}"
            yield rule.found(what, at_worst=subject.keeper_made_it)


def _is_on(field: Field[bool], subject: Subject) -> bool:
    try:
        return field.read(subject.record)
    except BadInput:
        # That is a finding of its own.
        return False


# -- what somebody should decide ------------------------------------------------------------------

LEASE = Rule(
    "lease",
    "a killed rotation left its lease",
    "look",
    "It ended before it could release the lease, and may have left more undone.",
    "look at the Gateway's log, then rotate: a rotation starts from whatever it finds",
)
LEFT_BEHIND = Rule(
    "left-behind",
    "a key that no store holds was left behind",
    "look",
    "A rotation that was interrupted has made it, and no store has its value.",
    "rotate: that deletes it",
)
OLD_KEYS = Rule(
    "old-keys",
    "old keys are alive",
    "look",
    "More keys are alive than 'keep_previous_keys' asks for.",
    "see who still uses them, then rotate: that deletes them; or raise 'keep_previous_keys'",
)
PRINCIPAL_SECRETS = Rule(
    "principal-secrets",
    "secrets on the service principal are alive",
    "look",
    "They log in as the application, and no rotation deletes them.",
    "delete them where nobody uses them",
)
VAULT_EXPIRY = Rule(
    "vault-expiry",
    "the expiry date in a mirror is wrong",
    "look",
    "Warnings that go by it come at the wrong time.",
    "rotate: that writes the correct date",
)
RECORD_EXPIRY = Rule(
    "record-expiry",
    "the expiry date in Keeper is wrong",
    "look",
    "Whoever reads the record goes by a wrong date.",
    "rotate: that writes the correct date",
)
TAKE_OVER = Rule(
    "take-over",
    "'take_over' was left on",
    "look",
    "It is meant for one rotation; later ones delete another record's keys without asking.",
    "set 'take_over' to 'False', now that this record rotates the target",
)
VISIBLE_VALUE = Rule(
    "visible-value",
    "the secret value is not hidden",
    "look",
    "Its field is of a type that the vault shows in clear.",
    "rotate: that makes it a hidden field, and replaces the value that was seen",
)
NEVER_ROTATED = Rule(
    "never-rotated",
    "never rotated yet",
    "look",
    "The record was made, and no rotation has filled it in.",
    "press Rotate, or wait for the schedule",
)


@_always
def _of_lease(subject: Subject) -> Iterator[Finding]:
    if subject.lease_until and not subject.at_work:
        until = iso(subject.lease_until)
        if subject.lease_until > subject.now:
            yield LEASE.found(f"its lease until {until} is longer than any run: it was edited, or a clock was wrong")
        else:
            yield LEASE.found(f"a rotation held the lease until {until} and never released it: it was killed")


@_at_rest
def _of_other_keys(subject: Subject) -> Iterator[Finding]:
    present = subject.present
    foreign = _foreign(subject)
    left = [key for key in subject.alive if _left_behind(key, subject)]
    if left:
        yield LEFT_BEHIND.found(
            f"{_names(left)}: made by a rotation of this record that was interrupted, held by no store"
        )
    others = [key for key in subject.alive if key not in foreign and key not in left and key != present]
    # The last key that is alive is in use, whatever Keeper holds.
    spare = max(subject.keep, 0 if present and not subject.present_has_ended else 1)
    if len(others) > spare:
        yield OLD_KEYS.found(
            f"{len(others)} besides the one in use, 'keep_previous_keys' is {subject.keep}: {_names(others)}"
        )


def _left_behind(key: Key, subject: Subject) -> bool:
    newer = subject.present is None or key.created_at > subject.present.created_at
    return key.owner == subject.uid and key.id != subject.key_id and newer


@_at_rest
def _of_vault_dates(subject: Subject) -> Iterator[Finding]:
    ends = subject.expires_at
    if not subject.published or not subject.rotation_id or (subject.present is None and ends is None):
        return
    true = f"at {iso(ends)}" if ends else "never"
    for mirror in subject.mirrors:
        noted = [(name, moment) for name, secret in mirror.secrets.items() for moment in secret.ends]
        wrong = [(name, moment) for name, moment in noted if not ends or abs(moment - ends) > _TOLERANCE]
        if mirror.rotations == {subject.rotation_id} and wrong:
            name, moment = wrong[0]
            yield VAULT_EXPIRY.found(
                f"{name} in {mirror.name} has the expiry {iso(moment)}, but the key expires {true}"
            )


@_at_rest
def _of_record_date(subject: Subject) -> Iterator[Finding]:
    recorded, ends = subject.recorded_end, subject.present.expires_at if subject.present else None
    if recorded and ends and not subject.present_has_ended and abs(recorded - ends) > _TOLERANCE:
        yield RECORD_EXPIRY.found(f"the record says {iso(recorded)}, the key ends at {iso(ends)}")


@_always
def _of_take_over(subject: Subject) -> Iterator[Finding]:
    if subject.take_over:
        yield TAKE_OVER.found("'take_over' is 'True': another record's keys would be deleted without a warning")


@_always
def _of_visibility(subject: Subject) -> Iterator[Finding]:
    label = subject.shape.value_label
    for item in subject.items:
        is_value = normalised(str(item.get("label") or "")) == normalised(label)
        if is_value and subject.holds_value and item.get("type") not in _HIDDEN_TYPES:
            yield VISIBLE_VALUE.found(f"the field '{label}' is of type {item.get('type')}: the vault shows its value")


@_at_rest
def _of_first_rotation(subject: Subject) -> Iterator[Finding]:
    if not subject.published and not subject.findings and not any(_of_log(subject)):
        yield NEVER_ROTATED.found(
            "the record holds no key yet" if subject.script.has_keys else "nothing was published yet"
        )


def _names(keys: Sequence[Key]) -> str:
    longest = 3
    more = f" and {len(keys) - longest} more" if len(keys) > longest else ""
    return ", ".join(key.shown for key in keys[:longest]) + more


DEAD = frozenset(
    {
        *(EXPIRED, NO_LIVE_KEY, NOT_ALIVE, HALF_CREDENTIAL),
        *(ARCHIVED, GONE, IDENTITY_PROVIDER, USER, CANNOT_LOG_IN),
    }
)
"""The rules by which what Keeper holds logs nobody in now."""

# A rule is in force by standing above: no second list has to know of it.
RULES: tuple[Rule, ...] = tuple(one for one in list(globals().values()) if isinstance(one, Rule))


def rule_of(trouble: Trouble) -> Rule:
    """Return the rule that a look's trouble belongs to, by its code."""
    return next(rule for rule in RULES if rule.code == trouble.code)
