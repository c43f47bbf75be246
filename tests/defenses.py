"""Take each defense out of a copy of the package, and see that its test then fails.

``python -m tests.defenses [WORD ...]``: those whose attack has one of the words in its name; without words, all.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.tree import copy_tree

COPIED = ("covidpipe", "tests", "workflow", "config", "Snakefile", "slurm", "pyproject.toml")


@dataclass(frozen=True)
class Defense:
    """What stops an attack: some words of a file, and what stands there without it."""

    attack: str
    file: str
    words: str
    without: str
    test: str


UNIT = "tests/unit/"
ARCHIVE, SECURITY, FUZZ, FETCH, FAULTS = (
    f"{UNIT}test_{name}.py::test_" for name in ("archive", "security", "fuzz", "fetch", "faults")
)
GREP = f"{SECURITY}no_module_unpickles_evaluates_or_asks_a_shell"
DEFENSES = (
    # --- files
    Defense("a frame of 10^9 pixels", "covidpipe/io/raster.py", "if pixels > limits.max_pixels:", "if False:",
            f"{FUZZ}headers_that_promise_too_much_are_refused_before_anything_is_read"),
    Defense("a million frames", "covidpipe/io/raster.py", "if frames > limits.max_frames:", "if False:",
            f"{FUZZ}headers_that_promise_too_much_are_refused_before_anything_is_read"),
    Defense("a volume larger than memory", "covidpipe/io/nifti.py", "if size > self.limits.max_memory_gib * (1 << 30):",
            "if False:", f"{FUZZ}headers_that_promise_too_much_are_refused_before_anything_is_read"),
    Defense("a file of any size", "covidpipe/io/rows.py", "if size > limits.max_file_gib * GIB:", "if False:",
            f"{FUZZ}headers_that_promise_too_much_are_refused_before_anything_is_read"),
    Defense("a decoder that takes all memory", "covidpipe/io/bounded.py",
            "resource.setrlimit(resource.RLIMIT_DATA, (_within(held + int(gib * GIB), hard), hard))", "pass",
            f"{FUZZ}a_file_that_wants_all_memory_costs_one_row"),
    Defense("a decoder that never ends", "covidpipe/io/bounded.py",
            "faulthandler.dump_traceback_later(seconds, exit=True, file=nowhere)", "pass",
            f"{FUZZ}a_file_that_takes_for_ever_costs_one_row"),
    Defense("a decoder that crashes", "covidpipe/io/parallel.py",
            "except BrokenProcessPool:  # told by a result, or by the next files handed in",
            "except ZeroDivisionError:", f"{UNIT}test_ingest.py::test_a_crash_of_a_decoder_costs_one_file"),
    Defense("links in circles", "covidpipe/io/sources.py", "and real not in seen:", "and real:",
            f"{FUZZ}links_that_go_round_in_circles_end"),
    # --- archives
    Defense("a member outside of the archive", "covidpipe/io/archive.py", 'or ".." in parts ', "",
            f"{ARCHIVE}a_path_outside_is_refused"),
    Defense("a member with a path from the root", "covidpipe/io/archive.py", 'or parts[0] == "/" ', "",
            f"{ARCHIVE}a_path_outside_is_refused"),
    Defense("a link or device in a .tar.gz", "covidpipe/io/archive.py", "if not (member.isfile() or member.isdir()):",
            "if False:", f"{ARCHIVE}links_and_devices_are_refused"),
    Defense("a link in a .zip", "covidpipe/io/archive.py", "if kind not in (0, 0o10, 0o04):", "if False:",
            f"{ARCHIVE}a_zipped_link_is_refused"),
    Defense("two members that are one file on some disk", "covidpipe/io/archive.py", "    if name in seen:",
            "    if False:", f"{SECURITY}two_members_that_are_one_file_on_some_disk_are_refused"),
    Defense("an archive that unpacks to much more", "covidpipe/io/archive.py", "if left < 0:", "if False:",
            f"{ARCHIVE}a_bomb_is_stopped"),
    Defense("an archive of too many files", "covidpipe/io/archive.py", "if number > limits.max_unpacked_files:",
            "if False:", f"{SECURITY}an_archive_of_too_many_files_is_refused"),
    Defense("unpacked images that others read", "covidpipe/io/archive.py", "os.O_EXCL, 0o600)", "os.O_EXCL, 0o666)",
            f"{SECURITY}what_an_archive_gives_is_for_its_owner_and_its_errors_name_no_member"),
    # --- configs
    Defense("code in a config", "covidpipe/config.py", "class _Loader(yaml.SafeLoader):",
            "class _Loader(yaml.UnsafeLoader):", f"{SECURITY}a_config_runs_nothing"),
    Defense("brackets in brackets in a config", "covidpipe/config.py", "if self.depth > DEEPEST:", "if False:",
            f"{FUZZ}references_that_grow_without_end_are_refused_in_few_words"),
    Defense("a config of any size", "covidpipe/config.py", "if path.stat().st_size > LARGEST_CONFIG:", "if False:",
            f"{FUZZ}references_that_grow_without_end_are_refused_in_few_words"),
    Defense("a name that a shell understands", "covidpipe/config.py", "if not re.fullmatch(NAME_PATTERN, name):",
            "if False:", f"{SECURITY}no_name_of_a_config_means_something_to_a_shell"),
    Defense("an unquoted word in a rule", "workflow/rules/ingest.smk", "{params.config_file:q} --out {output.images:q}",
            "{params.config_file} --out {output.images:q}",
            f"{SECURITY}what_a_rule_gives_a_shell_is_quoted_or_cannot_hold_more_than_a_name"),
    # --- weights
    Defense("weights that were replaced", "covidpipe/io/files.py", "    if found != wanted:", "    if False:",
            f"{SECURITY}weights_are_not_opened_before_their_checksum_is_right"),
    Defense("a Keras network with code in it", "covidpipe/inference/engine.py", "safe_mode=True", "safe_mode=False",
            f"{SECURITY}a_network_with_code_in_it_is_refused"),
    Defense("the same, to start a training from", "covidpipe/training/transfer.py", "safe_mode=True", "safe_mode=False",
            GREP),
    Defense("a pickle that calls a function", "covidpipe/io/torch_files.py", "if argument not in NAMES:", "if False:",
            f"{UNIT}test_pretrained.py::test_a_file_that_asks_for_a_function_is_refused_and_nothing_runs"),
    Defense("a tensor that repeats one number", "covidpipe/io/torch_files.py", "if math.prod(self.shape) > count:",
            "if False:", f"{UNIT}test_pretrained.py::test_a_file_cannot_grow_in_memory"),
    Defense("a module that unpickles", "covidpipe/io/torch_files.py", "import pickletools\n",
            "import pickle\nimport pickletools\n", GREP),
    # --- downloads
    Defense("a download that is not https", "covidpipe/io/download.py", "if scheme not in schemes:", "if False:",
            f"{FETCH}only_https_is_asked_by_default"),
    Defense("a download that leads elsewhere", "covidpipe/io/download.py", "_check_scheme(newurl, self.schemes)",
            "pass", f"{FETCH}what_cannot_be_had_is_told"),
    Defense("a download of other bytes", "covidpipe/io/download.py", "if not found.startswith(wanted):", "if False:",
            f"{FETCH}a_corrupted_download_is_refused_and_nothing_is_kept"),
    Defense("a download without end", "covidpipe/io/download.py", "_once(url, path, largest,",
            "_once(url, path, 1 << 60,", f"{FETCH}a_file_that_is_too_large_is_given_up"),
    Defense("a download stitched from two versions", "covidpipe/io/download.py",
            ', "If-Range": tag.read_text(encoding="utf-8")',
            "", f"{FETCH}a_file_that_was_published_anew_in_between_is_not_stitched_together"),
    # --- reports and spreadsheets
    Defense("a name that is markup", "covidpipe/report/page.py", "autoescape=True", "autoescape=False",
            f"{SECURITY}a_name_that_is_markup_is_shown_as_text"),
    Defense("a formula in a cell", "covidpipe/io/export.py", 'FORMULA = r"^[=+', 'FORMULA = r"^[+',
            f"{UNIT}test_tables.py::test_no_cell_of_a_csv_begins_like_a_formula"),
    # --- shared disks
    Defense("a key that others read", "covidpipe/provenance.py", "    if open_to:", "    if False:",
            f"{SECURITY}the_key_is_for_its_owner_only_and_a_key_that_others_read_is_refused"),
    Defense("a key made for all", "covidpipe/provenance.py", "os.O_EXCL, 0o600)", "os.O_EXCL, 0o644)",
            f"{SECURITY}the_key_is_for_its_owner_only_and_a_key_that_others_read_is_refused"),
    Defense("tables that others read", "covidpipe/cores.py", "os.umask(os.umask(0o077) | 0o007)", "pass",
            f"{SECURITY}results_are_for_the_user_and_the_group_whatever_the_umask_was"),
    Defense("a temporary copy of images with a name", "covidpipe/io/flat.py", "tempfile.TemporaryFile(",
            "tempfile.NamedTemporaryFile(",
            f"{SECURITY}a_temporary_copy_of_images_has_no_name_to_be_opened_by"),
    # --- faults
    Defense("half a file under its name", "covidpipe/io/files.py",
            'partial = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")', "partial = path",
            f"{FAULTS}what_a_killed_writer_left_is_taken_for_nothing"),
    Defense("power lost before the bytes are on the disk", "covidpipe/io/files.py", "_sync_tree(partial)", "pass",
            f"{FAULTS}power_lost_at_any_moment_leaves_the_old_file_or_the_new_one"),
    Defense("power lost before the names are on the disk", "covidpipe/io/files.py",
            'path.rglob("*") if path.is_dir()', '[p for p in path.rglob("*") if p.is_file()] if path.is_dir()',
            f"{FAULTS}power_lost_at_any_moment_leaves_no_half_of_a_folder"),
    Defense("a flipped bit in a table", "covidpipe/io/files.py", "page_checksum_verification=True",
            "page_checksum_verification=False", f"{FAULTS}no_flipped_bit_of_a_page_is_read"),
    Defense("a full disk", "covidpipe/io/files.py", "        if not _is_full(error):\n", "        if True:\n",
            f"{FAULTS}a_full_disk_is_told_of_whatever_library_met_it"),
)  # fmt: skip


def main(words: list[str]) -> int:
    chosen = [one for one in DEFENSES if not words or any(word in one.attack for word in words)]
    left = []
    with tempfile.TemporaryDirectory(prefix="defenses-") as folder:
        copy = Path(folder)
        copy_tree(COPIED, copy)
        for one in chosen:
            began = time.monotonic()
            fails = _fails_without(one, copy)
            if not fails:
                left.append(one)
            told = "fails without it" if fails else "PASSES WITHOUT IT"
            print(
                f"{one.attack:46} {told:18} {time.monotonic() - began:4.0f} s  {one.test.removeprefix(UNIT)}",
                flush=True,
            )
    print(f"{len(chosen)} attacks, {len(left)} whose test does not need the defense")
    return 1 if left else 0


def _fails_without(one: Defense, copy: Path) -> bool:
    """True if the test, run in the copy, fails once the defense is gone: with a failure, not for want of a test."""
    file = copy / one.file
    whole = file.read_text(encoding="utf-8")
    file.write_text(whole.replace(one.words, one.without, 1), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-x", *one.test.split()]
    running = subprocess.Popen(
        command, cwd=copy, env=os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        said, _ = running.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        return True  # it hangs: what the defense is there for
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)  # the workers of a test that hangs too
        running.wait()
        file.write_text(whole, encoding="utf-8")
    if running.returncode not in (0, 1):
        raise SystemExit(f"{one.attack}: {one.test} cannot be run:\n{said[-3000:]}")
    return running.returncode == 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
