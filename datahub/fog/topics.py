"""Kafka's topics, and who may write to them."""

from __future__ import annotations

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

INTAKE = "ievcc.intake"
DEAD = "ievcc.dead"
# Fixed for good: a site's records keep to one partition, and its devices' states are guarded by
# that partition's offset.
PARTITIONS = 12
_KEEP_MS = {INTAKE: 14 * 86_400_000, DEAD: 90 * 86_400_000}
_WAIT_S = 30.0
_LOG_LEVEL = 4  # warnings and worse: what it says as it leaves is no news


def prepare(servers: str, replicas: int = 1) -> None:
    """Make the topics that are not there yet; every building's user may write to the intake and
    do nothing else.
    """
    admin = AdminClient({"bootstrap.servers": servers, "log_level": _LOG_LEVEL})
    wanted = [
        NewTopic(
            name,
            PARTITIONS,
            replicas,
            config={
                "retention.ms": str(keep),
                "compression.type": "producer",
                "min.insync.replicas": str(max(1, replicas - 1)),
                # A parcel's time is when the broker had it: the one clock all sites share.
                "message.timestamp.type": "LogAppendTime",
            },
        )
        for name, keep in _KEEP_MS.items()
    ]
    for future in admin.create_topics(wanted, operation_timeout=_WAIT_S).values():
        try:
            future.result(_WAIT_S)
        except KafkaException as e:
            if e.args[0].name() != "TOPIC_ALREADY_EXISTS":
                raise


def admit_site(servers: str, site: str, password: str) -> None:
    """A site's user with this password (SCRAM), allowed to write to the intake."""
    admin = AdminClient({"bootstrap.servers": servers, "log_level": _LOG_LEVEL})
    user = user_of(site)
    credentials = admin.alter_user_scram_credentials(
        [
            UserScramCredentialUpsertion(
                user, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 8192), password.encode()
            )
        ]
    )
    for future in credentials.values():
        future.result(_WAIT_S)
    acls = [
        AclBinding(
            ResourceType.TOPIC,
            INTAKE,
            ResourcePatternType.LITERAL,
            f"User:{user}",
            "*",
            operation,
            AclPermissionType.ALLOW,
        )
        for operation in (AclOperation.WRITE, AclOperation.DESCRIBE)
    ]
    for made in admin.create_acls(acls).values():
        made.result(_WAIT_S)


def user_of(site: str) -> str:
    """The Kafka user of a site."""
    return f"site-{site}"
