"""Builds the extension; everything else stands in pyproject.toml."""

import os
import platform
import subprocess
import sys
from glob import glob

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

if not sys.platform.startswith("linux"):
    sys.exit(
        "csandbox runs on Linux only: its confinement is made of Linux "
        f"kernel features, and this is {sys.platform}."
    )

if platform.machine() not in ("x86_64", "aarch64"):
    sys.exit(
        "csandbox runs on x86-64 and aarch64, whose system calls it knows, "
        f"and this is {platform.machine()}."
    )

compile_args = ["-std=c11", "-fvisibility=hidden", "-Wall", "-Wextra"]
link_args: list[str] = []
# A thread of the host that runs a guest may have a stack of 32 KiB.  (What the
# sanitizers put on it is theirs.)
if os.environ.get("CSANDBOX_SANITIZE") != "1":
    compile_args += ["-Wframe-larger-than=5120"]

if os.environ.get("CSANDBOX_WERROR") == "1":
    compile_args += ["-Werror"]

if os.environ.get("CSANDBOX_SANITIZE") == "1":
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    compile_args += [*sanitizers, "-fno-omit-frame-pointer", "-O1", "-g"]
    compile_args += ["-DCSB_SANITIZED"]
    link_args += sanitizers


class Build(build_ext):
    """Says in one sentence what to install, instead of a page of errors."""

    def build_extensions(self) -> None:
        """Build, if there is what it takes."""
        needed = {
            "a C compiler (gcc)": "",
            "<Python.h> (python3-dev)": "#include <Python.h>\n",
            "<seccomp.h> (libseccomp-dev)": "#include <seccomp.h>\n",
        }
        for name, source in needed.items():
            if not self._compiles(source):
                sys.exit(
                    f"csandbox is written in C, and {name} is missing here; "
                    "on Debian or Ubuntu install what it needs with: "
                    "apt-get install gcc libseccomp-dev python3-dev"
                )
        super().build_extensions()

    def _compiles(self, source: str) -> bool:
        include = [f"-I{path}" for path in self.compiler.include_dirs]
        command = [*self.compiler.compiler_so, *include, "-fsyntax-only"]
        try:
            return not subprocess.run(
                [*command, "-x", "c", "-"],
                input=source,
                text=True,
                capture_output=True,
            ).returncode
        except OSError:
            return False


setup(
    cmdclass={"build_ext": Build},
    ext_modules=[
        Extension(
            "csandbox._csandbox",
            sources=sorted(glob("csandbox/native/*/*.c")),
            depends=sorted(glob("csandbox/native/*/*.h")),
            libraries=["seccomp"],
            extra_compile_args=compile_args,
            extra_link_args=link_args,
        )
    ],
)
