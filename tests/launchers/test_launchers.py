"""The launchers are written in the words of what reads them: shells, SLURM, YAML, Docker, and aha itself."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from aha.cli import parse, parser

ROOT = Path(__file__).parents[2]
LAUNCHERS = ROOT / "launchers"
SHELL = sorted([*LAUNCHERS.glob("*.sh"), *LAUNCHERS.glob("*.sbatch")])
RAY = LAUNCHERS / "ray_job.sh"
GPU_CHECK = LAUNCHERS / "gpu_check.sh"  # which measures and runs no recipe
SBATCH = {
    "account", "array", "chdir", "comment", "constraint", "cpus-per-gpu", "cpus-per-task", "dependency", "error",
    "exclude", "exclusive", "export", "gpus", "gpus-per-node", "gpus-per-task", "gres", "job-name", "mail-type",
    "mail-user", "mem", "mem-per-cpu", "mem-per-gpu", "nodelist", "nodes", "no-requeue", "ntasks",
    "ntasks-per-node", "open-mode", "output", "partition", "qos", "requeue", "reservation", "signal", "time",
}  # fmt: skip
TORCHRUN = {
    "nnodes", "nproc-per-node", "node-rank", "master-addr", "master-port", "standalone", "rdzv-backend", "rdzv-id",
    "rdzv-endpoint", "max-restarts",
}  # fmt: skip


def documents(name):
    yaml = pytest.importorskip("yaml")
    return list(yaml.safe_load_all((LAUNCHERS / name).read_text(encoding="utf-8")))


def code_of(path):
    """A script without its comments, continued lines joined."""
    lines = path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("#"))


def words_of_torchrun(text):
    """The words that follow torchrun in a script; variables are filled with something plausible."""
    (line,) = [line for line in text.splitlines() if "-m aha" in line]
    line = line.replace('"$@"', "rl.steps=3")
    line = re.sub(r'"?\$\{?RECIPE\}?"?', "r1_zero", line)
    line = re.sub(r"\$\{[^}]*\}|\$\w+", "1", line)
    words = shlex.split(line)
    return words[next(i for i, word in enumerate(words) if word.endswith("torchrun")) + 1 :]


def check_torchrun(words):
    """torchrun's own options, then ``-m aha`` and a command line that aha takes."""
    at = words.index("-m")
    options = {word.split("=")[0].removeprefix("--") for word in words[:at] if word.startswith("--")}
    assert options <= TORCHRUN
    assert {"nproc-per-node"} <= options
    assert words[at + 1] == "aha"
    arguments = check_aha(words[at + 2 :])
    assert arguments.command == "run"
    assert arguments.plain, "lines, not a live display, in a log"
    assert arguments.model
    return options


def check_ray(words):
    """A submitted job: the address, and after ``--`` a command line that aha takes, which starts its own ranks."""
    at = words.index("--")
    assert words[:at] == ["ray", "job", "submit", "--address", "http://head:8265"]
    assert words[at + 1] == "aha"
    arguments = check_aha(words[at + 2 :])
    assert (arguments.command, arguments.plain, arguments.ray_ranks) == ("run", True, 4)
    assert {"ranks.gpus=1", "ranks.cpus=4", "rl.steps=3"} <= set(arguments.settings)
    return set()


def check_aha(words):
    return parse(parser(words[0]), words)


# --- scripts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.name)
def test_scripts_are_valid_and_strict(path):
    done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "set -euo pipefail" in path.read_text(encoding="utf-8")
    assert path.stat().st_mode & stat.S_IXUSR
    if path not in (RAY, GPU_CHECK):
        check_torchrun(words_of_torchrun(code_of(path)))


@pytest.mark.parametrize("path", [p for p in SHELL if p != GPU_CHECK], ids=lambda path: path.name)
def test_scripts_run_what_they_say(path, tmp_path):
    """With programs in the place of torchrun, srun, ray and SLURM's that print what they are asked for."""
    for name in ("torchrun", "srun", "ray"):
        program = tmp_path / name
        program.write_text('#!/bin/sh\nprintf "%s\\n" "$(basename "$0")" "$@"\n', encoding="utf-8")
        program.chmod(0o755)
    (tmp_path / "scontrol").write_text("#!/bin/sh\necho first\necho second\n", encoding="utf-8")
    (tmp_path / "scontrol").chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "GPUS": "4",
        "MODEL": "a model",
        "HEAD": "first",
        "NODES": "2",
        "RAY_ADDRESS": "http://head:8265",
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_GPUS_ON_NODE": "4",
        "SLURM_JOB_ID": "7",
    }
    done = subprocess.run(
        ["bash", str(path), "rl.steps=3", "rl.lr=1e-6"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    words = done.stdout.splitlines()
    if path == RAY:
        options = check_ray(words)
    else:
        words = words[words.index("torchrun") + 1 :]
        options = check_torchrun(words)
    assert words[-2:] == ["rl.steps=3", "rl.lr=1e-6"]
    assert "a model" in words, "one word, whatever is in it"
    assert "4" in words
    if "rdzv-endpoint" in options:
        assert words[words.index("--rdzv-endpoint") + 1] == "first:29500"


def gpu_check(*words, **env):
    environment = {"PATH": "/usr/bin:/bin", "CUDA_VISIBLE_DEVICES": "", "HOME": "/nowhere"} | env
    return subprocess.run(
        ["bash", str(GPU_CHECK), *words], env=environment, capture_output=True, text=True, timeout=300
    )


def test_the_check_of_a_gpu_lists_its_parts_and_ends_with_a_sentence_without_one(tmp_path):
    out = tmp_path / "found.json"
    listed = gpu_check("--dry-run", PYTHON=sys.executable)
    assert listed.returncode == 0, listed.stderr
    assert {
        "graphs-attention",
        "doctor-quick",
        "rollout",
        "train",
        "zero",
        "step",
        "transfer",
        "step-trl",
    } <= {line.split()[0] for line in listed.stdout.splitlines()}
    done = gpu_check(PYTHON=sys.executable, OUT=str(out))
    assert done.returncode == 1
    assert "There is no GPU here" in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()


def test_the_check_of_a_gpu_names_what_python_lacks(tmp_path):
    bare = tmp_path / "python"
    bare.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    bare.chmod(0o755)
    done = gpu_check(PYTHON=str(bare))
    assert done.returncode == 1
    assert "set PYTHON to an environment" in done.stderr


def test_torchrun_hands_every_option_of_a_run_on():
    """It looks for abbreviations of its own options in all words, also in those for the program."""
    from torch.distributed.run import get_args_parser

    from aha.commands.run import add_run_arguments

    ours = argparse.ArgumentParser()
    add_run_arguments(ours)
    assert "--run" in ours._option_string_actions  # the one that it does not hand on
    for option in set(ours._option_string_actions) - {"-h", "--help", "--run"}:
        words = ["--nproc-per-node", "2", "-m", "aha", "zero", option, "word"]
        assert get_args_parser().parse_args(words).training_script_args == ["zero", option, "word"]
    assert ours.parse_args(["--run-name", "mine"]).run_name == "mine"


@pytest.mark.parametrize("missing", ["HEAD", "NODES"])
def test_several_nodes_say_what_is_missing(missing):
    environment = {"PATH": "/usr/bin:/bin", "HEAD": "first", "NODES": "2", "GPUS": "1"}
    environment.pop(missing)
    script = LAUNCHERS / "several_nodes.sh"
    done = subprocess.run(["bash", str(script)], env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert missing in done.stderr


def test_sbatch_options_are_known_and_come_first():
    lines = (LAUNCHERS / "slurm.sbatch").read_text(encoding="utf-8").splitlines()
    marked = [i for i, line in enumerate(lines) if line.startswith("#SBATCH")]
    first_code = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    assert marked
    assert max(marked) < first_code, "SLURM stops reading at the first command"
    settings = {}
    for i in marked:
        name, _, value = lines[i].removeprefix("#SBATCH --").partition("=")
        settings[name] = value
    assert set(settings) <= SBATCH
    assert settings["ntasks-per-node"] == "1", "one torchrun a node"
    assert re.fullmatch(r"\d+:\d\d:\d\d", settings["time"])


# --- YAML -------------------------------------------------------------------------------------------------


def test_skypilot():
    (task,) = documents("skypilot.yaml")
    assert set(task) <= {
        "name", "workdir", "num_nodes", "resources", "envs", "secrets", "file_mounts", "setup", "run"
    }  # fmt: skip
    assert set(task["resources"]) <= {"accelerators", "disk_size", "use_spot", "cpus", "memory", "image_id"}
    assert all(value == "" or "TOKEN" not in key for key, value in task["envs"].items())
    for script in (task["setup"], task["run"]):
        assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    options = check_torchrun(words_of_torchrun(task["run"].replace("\\\n", " ")))
    assert {"nnodes", "node-rank", "master-addr"} <= options


def test_kubernetes():
    service, policy, job = documents("kubernetes.yaml")
    assert [(d["apiVersion"], d["kind"]) for d in (service, policy, job)] == [
        ("v1", "Service"),
        ("networking.k8s.io/v1", "NetworkPolicy"),
        ("batch/v1", "Job"),
    ]
    name, spec, pod = job["metadata"]["name"], job["spec"], job["spec"]["template"]["spec"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"job-name": name}
    assert policy["spec"]["podSelector"]["matchLabels"] == {"job-name": name}
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"]
    assert pod["subdomain"] == service["metadata"]["name"]
    assert pod["restartPolicy"] == "Never"
    (container,) = pod["containers"]
    words = [word.replace("$(JOB_COMPLETION_INDEX)", "0") for word in container["args"]]
    check_torchrun(words)
    options = dict(word.removeprefix("--").split("=", 1) for word in words if "=" in word)
    assert int(options["nnodes"]) == spec["completions"]
    assert int(options["nproc-per-node"]) == container["resources"]["limits"]["nvidia.com/gpu"]
    assert options["master-addr"] == f"{name}-0.{service['metadata']['name']}"
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_kubernetes_gives_no_rights():
    pod = documents("kubernetes.yaml")[-1]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    own = container["securityContext"]
    assert own["allowPrivilegeEscalation"] is False
    assert own["readOnlyRootFilesystem"] is True
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)


# --- Docker -----------------------------------------------------------------------------------------------

INSTRUCTIONS = {
    "ARG", "FROM", "ENV", "RUN", "WORKDIR", "COPY", "USER", "VOLUME", "ENTRYPOINT", "CMD", "LABEL", "EXPOSE",
}  # fmt: skip


def instructions():
    return [line.split(maxsplit=1) for line in code_of(LAUNCHERS / "Dockerfile").splitlines() if line.strip()]


def test_dockerfile_is_made_of_known_instructions():
    docker = instructions()
    assert {name for name, _ in docker} <= INSTRUCTIONS
    stages = [value for name, value in docker if name == "FROM"]
    assert len(stages) == 2, "what builds is not in the image"
    assert docker[0][0] == "ARG"
    for name, value in docker:
        if name == "RUN":
            assert subprocess.run(["bash", "-n"], input=value, text=True).returncode == 0
        if name == "COPY" and "--from" not in value:
            for source in value.split()[:-1]:
                assert (ROOT / source).exists(), source


def test_the_image_does_not_run_as_root_and_holds_no_secret():
    docker = instructions()
    last_stage = docker[max(i for i, (name, _) in enumerate(docker) if name == "FROM") :]
    (user,) = [value for name, value in last_stage if name == "USER"]
    assert user.split(":")[0] not in ("0", "root")
    text = (LAUNCHERS / "Dockerfile").read_text(encoding="utf-8")
    assert not re.search(r"(?i)(token|password|secret|api_key)\s*=", text)
    assert "-c constraints.txt" in text


def test_the_build_sees_what_it_needs_and_nothing_else():
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {
        source
        for name, value in instructions()
        if name == "COPY" and "--from" not in value
        for source in value.split()[:-1]
    }
    assert copied == allowed


def test_commands_of_the_documentation_parse():
    """Every ``aha`` command in the comments and on the documentation's page is one that aha takes."""
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    lines = [line for block in page.split("```")[1::2] for line in block.splitlines()]
    for path in sorted(LAUNCHERS.iterdir()):
        lines += [x[2:] for x in path.read_text(encoding="utf-8").splitlines() if x.startswith("# ")]
    commands = [line for line in lines if re.match(r"(docker run .* )?aha ", line)]
    assert commands
    for line in commands:
        words = shlex.split(re.sub(r"\$\w+", "x", line), comments=True)
        words = words[words.index("aha") + 1 :]
        assert check_aha(words).command


def test_docker_finds_nothing_to_say():
    """Docker's own checks, where Docker with buildx is there and its daemon answers."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "buildx", "version"], capture_output=True).returncode:
        pytest.skip("no docker with buildx")
    if subprocess.run([docker, "info"], capture_output=True).returncode:
        pytest.skip("docker's daemon does not answer")
    command = [docker, "build", "--check", "-f", str(LAUNCHERS / "Dockerfile"), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
