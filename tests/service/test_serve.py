"""`lyra-worldgen serve` as a program: its start, flags that cannot be, TLS."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
import requests

from service_client import PATIENCE_S


@pytest.mark.slow
def test_the_command(tmp_path):
    """`serve` says where it listens and shows the owner's token once; users are made beside it."""
    program = [sys.executable, "-m", "lyra.worldgen", "serve", "--data", str(tmp_path / "data")]
    with subprocess.Popen(
        [*program, "--port", "0", "--json-lines"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as serving:
        assert serving.stdout is not None and serving.stderr is not None
        ready = json.loads(serving.stdout.readline())
        token = re.search(r"lw_[\w-]{43}", serving.stderr.readline())
        assert token and ready["address"].startswith("http://127.0.0.1:") and ready["workers"] >= 1
        ask = requests.Session()
        ask.trust_env = False
        said = ask.get(f"{ready['address']}/v1/me", headers={"Authorization": f"Bearer {token[0]}"}, timeout=PATIENCE_S)
        assert said.json()["name"] == "owner"
        made = subprocess.run(
            [*program, "--new-user", "anna", "--quota", "worlds=2", "--json"],
            capture_output=True,
            text=True,
            check=True,
        )
        anna = json.loads(made.stdout)["token"]
        said = ask.get(f"{ready['address']}/v1/me", headers={"Authorization": f"Bearer {anna}"}, timeout=PATIENCE_S)
        assert said.json()["quota"]["worlds"] == 2
        second = subprocess.run([*program, "--port", "0"], capture_output=True, text=True, check=False)
        assert second.returncode == 2 and f"another server ({serving.pid} on " in second.stderr
        assert "lw_" not in second.stderr
        serving.terminate()
        serving.wait(PATIENCE_S)
        ask.close()
    assert (tmp_path / "data").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--host", "0.0.0.0"], "tokens must not travel in the clear"),
        (["--host", "192.168.1.5"], "--behind-proxy"),
        (["--tls-cert", "c.pem"], "--tls-cert and --tls-key belong together"),
        (["--tls-cert", "c.pem", "--tls-key", "k.pem"], "the TLS file does not exist"),
        (["--limit", "photo_byte=3"], "--limit has no 'photo_byte'; expected one of: photo_bytes"),
        (["--quota", "worlds=many"], "--quota worlds is 'many'"),
        (["--quota", "worlds=0"], "expected more than 0"),
        (["--workers", "0"], "--workers is 0"),
        (["--port", "99999"], "--port is 99999"),
        (["--config", "none.yaml"], "the configuration file does not exist"),
        (["--new-user", "../x"], "the user's name is"),
        (["--new-token", "nobody"], "there is no user 'nobody'"),
    ],
)
def test_flags_that_cannot_be(tmp_path, monkeypatch, capsys, flags, message):
    """One line, exit code 2."""
    from lyra.worldgen.cli.main import main

    monkeypatch.chdir(tmp_path)
    assert main(["serve", *flags]) == 2
    assert message in capsys.readouterr().err


def test_over_tls(tmp_path):
    """With a certificate the same server speaks TLS, and nothing else."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    made += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    try:
        subprocess.run(made, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    program = [
        sys.executable,
        "-m",
        "lyra.worldgen",
        "serve",
        "--data",
        str(tmp_path / "data"),
        "--port",
        "0",
        "--json-lines",
    ]
    program += ["--tls-cert", str(certificate), "--tls-key", str(key)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None and serving.stderr is not None
        address = json.loads(serving.stdout.readline())["address"]
        token = re.search(r"lw_[\w-]{43}", serving.stderr.readline())
        assert token and address.startswith("https://")
        with requests.Session() as ask:
            ask.trust_env = False
            ask.headers["Authorization"] = f"Bearer {token[0]}"
            assert ask.get(f"{address}/v1/me", verify=str(certificate), timeout=PATIENCE_S).json()["name"] == "owner"
            with pytest.raises(requests.ConnectionError):
                ask.get(f"{address.replace('https', 'http')}/v1/me", timeout=PATIENCE_S)
        serving.terminate()
        serving.wait(PATIENCE_S)
