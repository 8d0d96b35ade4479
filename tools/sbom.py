"""The bill of materials of a release, in CycloneDX's JSON: the scripts' files, and every package of the locks.

It is written here, from the locks alone, so that it has what they have (who wants which package, on which Python, with
which hashes) and is the same whoever makes it: no time, no serial number, no tool's version, no package index. A test
holds it to CycloneDX's own schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tools.bundle import Bundle
from tools.locks import Pin

ROOT_REF = "pam-scripts"


def sbom(version: str, pins: Sequence[Pin], required: Collection[str], bundles: Sequence[Bundle]) -> str:
    """Return the bill of materials of a version: all packages of a host, and the files to attach.

    `required` has the package URLs of those that every host needs; the others are optional.
    """
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": ROOT_REF,
                "name": ROOT_REF,
                "version": version,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
                "components": [_file(bundle) for bundle in sorted(bundles, key=lambda each: each.name)],
            }
        },
        "components": [_package(pin, "required" if pin.purl in required else "optional") for pin in pins],
        "dependencies": _graph(pins),
    }
    return json.dumps(document, indent=2) + "\n"


def _file(bundle: Bundle) -> Mapping[str, Any]:
    return {
        "type": "file",
        "bom-ref": bundle.name,
        "name": bundle.name,
        "version": bundle.build,
        "hashes": [{"alg": "SHA-256", "content": bundle.sha256}],
    }


def _package(pin: Pin, scope: str) -> Mapping[str, Any]:
    # A package comes as one of several files: so the hashes are those of its distributions, not of the component.
    files = {
        "type": "distribution",
        "url": pin.purl,
        "comment": "what is installed is one of the files with these hashes",
        "hashes": [{"alg": "SHA-256", "content": digest} for digest in pin.hashes],
    }
    where = {"properties": [{"name": "pam-scripts:installed-where", "value": pin.marker}]} if pin.marker else {}
    return {
        "type": "library",
        "bom-ref": pin.purl,
        "name": pin.name,
        "version": pin.version,
        "scope": scope,
        "purl": pin.purl,
        "externalReferences": [files],
        **where,
    }


def _graph(pins: Sequence[Pin]) -> Sequence[Mapping[str, Any]]:
    """Return who needs what: the lock says of each package who asks for it, with extras in brackets."""
    needed: dict[str, list[str]] = {ref: [] for ref in (ROOT_REF, *(pin.purl for pin in pins))}
    for pin in pins:
        for asker in pin.wanted_by:
            name = re.sub(r"\[.*", "", asker)
            refs = [each.purl for each in pins if each.name == name]
            for ref in [ROOT_REF] if asker.startswith("-r ") else refs:
                needed[ref].append(pin.purl)
    return [{"ref": ref, "dependsOn": sorted(set(refs))} for ref, refs in needed.items()]
