"""Builds the extension; everything else stands in pyproject.toml."""

import os
import sys
from glob import glob

from setuptools import Extension, setup

if not sys.platform.startswith("linux"):
    sys.exit(
        "csandbox runs on Linux only: its confinement is made of Linux "
        f"kernel features, and this is {sys.platform}."
    )

compile_args = ["-std=c11", "-fvisibility=hidden", "-Wall", "-Wextra"]
link_args: list[str] = []

if os.environ.get("CSANDBOX_WERROR") == "1":
    compile_args += ["-Werror"]

if os.environ.get("CSANDBOX_SANITIZE") == "1":
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    compile_args += [*sanitizers, "-fno-omit-frame-pointer", "-O1", "-g"]
    compile_args += ["-DCSB_SANITIZED"]
    link_args += sanitizers

setup(
    ext_modules=[
        Extension(
            "csandbox._csandbox",
            sources=sorted(glob("csandbox/native/*/*.c")),
            depends=sorted(glob("csandbox/native/*/*.h")),
            libraries=["seccomp"],
            extra_compile_args=compile_args,
            extra_link_args=link_args,
        )
    ]
)
