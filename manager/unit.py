"""systemd's files: the manager in a sandbox, and mosquitto told when its lists have changed."""

from __future__ import annotations

from pathlib import Path

STATE = Path("/var/lib")


def service(program: Path, folder: Path, user: str) -> str:
    """ievcc.service: `program` is the script ievcc, `folder` where the site file is.

    It may write to that folder and to nothing else, has no capability, no device, no way to more
    rights, and only the system calls of an ordinary service.
    """
    at_home = any(str(p).startswith(("/home/", "/root/")) for p in (program, folder))
    if folder.parent == STATE:
        where = f"StateDirectory={folder.name}\nStateDirectoryMode=0700"
    else:
        where = f"ReadWritePaths={folder}"
    return f"""\
# Made by `ievcc init`.
[Unit]
Description=IEVCC: shares a building's power between car chargers
After=network-online.target mosquitto.service time-sync.target
Wants=network-online.target mosquitto.service

[Service]
Type=notify
NotifyAccess=main
WatchdogSec=30
ExecStart={program} run --config {folder / "site.toml"}
User={user}
Restart=always
RestartSec=2
{where}
WorkingDirectory={folder}
UMask=0077

NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome={"read-only" if at_home else "yes"}
PrivateTmp=yes
PrivateDevices=yes
DevicePolicy=closed
PrivateUsers=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProcSubset=pid
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
TasksMax=64

[Install]
WantedBy=multi-user.target
"""


def broker_service(files: Path, installed: Path) -> str:
    """ievcc-broker.service: what `ievcc` made in `files` handed to mosquitto, as root, once."""
    names = ("ca.crt", "broker.crt", "broker.key", "acl", "passwords")
    made = " ".join(str(files / name) for name in names)
    return f"""\
# Made by `ievcc init`.
[Unit]
Description=Hands mosquitto its certificates, passwords and access list
After=mosquitto.service

[Service]
Type=oneshot
ExecStart=/usr/bin/install -d -o mosquitto -g mosquitto -m 0700 {installed}
ExecStart=/usr/bin/install -o mosquitto -g mosquitto -m 0600 -t {installed} {made}
ExecStart=/usr/bin/install -m 0644 {files / "mosquitto.conf"} /etc/mosquitto/conf.d/ievcc.conf
ExecStart=/bin/systemctl reload-or-restart mosquitto.service
ProtectSystem=strict
ReadWritePaths=/etc/mosquitto
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
NoNewPrivileges=yes
CapabilityBoundingSet=CAP_CHOWN CAP_FOWNER CAP_DAC_OVERRIDE
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictAddressFamilies=AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
"""


def broker_path(files: Path) -> str:
    """ievcc-broker.path: does it whenever a device was added or struck."""
    return f"""\
# Made by `ievcc init`.
[Unit]
Description=Watches mosquitto's lists that ievcc makes

[Path]
PathChanged={files / "acl"}
PathChanged={files / "passwords"}
PathChanged={files / "broker.crt"}
Unit=ievcc-broker.service

[Install]
WantedBy=multi-user.target
"""
