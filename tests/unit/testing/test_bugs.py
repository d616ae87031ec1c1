# SPDX-License-Identifier: GPL-2.0-or-later
"""What the verifier would refuse is a sentence here, and not the end of the test run."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmbpf.testing import AccessError, Device, DeviceBug

HEAD = """#include <kvmbpf.bpf.h>
KVMBPF_DEVICE(d, .compatible = "a,b", .regions = { KVMBPF_MMIO(16) });
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1);
__type(key, __u64); __type(value, __u64); } table SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } ring SEC(".maps");
struct bpf_spin_lock lock;
__u64 zero, *pointer, array[4];
static long each(void *map, void *key, __u64 *value, void *context)
{
return *(__u64 *)context;
}
KVMBPF_WRITE(struct kvmbpf_access *acc) { return 0; }
KVMBPF_READ(struct kvmbpf_access *acc) {
__u64 key = 0, *value;
"""


def device(tmp_path: Path, statement: str) -> Device:
    """Return a device whose read has one statement, in line 15."""
    source = tmp_path / "d.bpf.c"
    source.write_text(f"{HEAD}{statement}\nreturn 0; }}\n")
    return Device(source)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (
            "value = bpf_map_lookup_elem(&table, &key); acc->value = *value;",
            r"d\.bpf\.c: d\.bpf\.c line 15: .* uses memory that is not there, "
            r"at 0x0: a NULL pointer\?",
        ),
        ("pointer = (void *)-4096; *pointer = 1;", r"line 15: .* at 0xfffffffffffff000$"),
        ("acc->value = 1 / zero;", "line 15: the device divides by 0, shifts by"),
        ("acc->value = array[zero + 4];", "line 15: .* or goes beyond an array"),
        ("acc->value = 1ULL << (zero + 64);", "line 15: .*shifts by too much"),
        ("bpf_map_lookup_elem(&table, (void *)0);", "a key of map table: 8 bytes at 0x0 are not"),
        ("bpf_map_lookup_elem(&zero, &key);", "KVMBPF_READ: no map lies at "),
        ("bpf_ringbuf_submit(&key, 0);", "a record is submitted or discarded that was not"),
        ("value = bpf_ringbuf_reserve(&ring, 8, 0);", "a record of ring was neither submitted nor"),
        ("bpf_ringbuf_reserve(&table, 8, 0);", "map table is no ring buffer"),
        ("bpf_spin_lock(&lock); bpf_spin_lock(&lock);", "while a lock is held"),
        ("bpf_spin_lock(&lock); bpf_ktime_get_ns();", "a function while a bpf_spin_lock is held"),
        ("bpf_spin_unlock(&lock);", "of a lock that is not held"),
        ("bpf_spin_lock(&lock);", "a bpf_spin_lock was left locked"),
        ('bpf_printk("%d");', "`%d` wants more than 0 arguments"),
        ('bpf_printk("%d", 1, 2);', "`%d` takes 1 arguments, not 2"),
        ('bpf_printk("%f", 1);', "unknown conversion %f"),
        ('bpf_printk("%s", (void *)8);', "%s: .* at 0x8 are not there"),
        (
            "bpf_map_update_elem(&table, &key, &key, 0);"
            "bpf_for_each_map_elem(&table, each, (void *)0, 0);",
            "line 10: .* at 0x0",
        ),
    ],
)
def test_a_bug_is_told_with_its_place(tmp_path: Path, statement: str, words: str) -> None:
    with device(tmp_path, statement) as dev:
        with pytest.raises(DeviceBug, match=words) as caught:
            dev.peek(0)
        assert not isinstance(caught.value, AccessError)
        assert "\n" not in str(caught.value)
        dev.poke(0, 1)  # it lives on


def test_a_bug_is_told_each_time(tmp_path: Path) -> None:
    with device(tmp_path, "acc->value = 1 / zero;") as dev:
        for _ in range(3):
            with pytest.raises(DeviceBug, match="divides by 0"):
                dev.peek(0)
        dev.globals["zero"] = 1
        assert dev.peek(0) == 1


def test_a_name_of_the_c_library_is_the_devices_own(tmp_path: Path) -> None:
    source = tmp_path / "names.bpf.c"
    source.write_text(
        "#include <kvmbpf.bpf.h>\n"
        'KVMBPF_DEVICE(d, .compatible = "a,b", .regions = { KVMBPF_MMIO(16) });\n'
        "__u64 environ, stdout, signgam;\n"
        "static int write(int x) { return x + 1; }\n"
        "KVMBPF_READ(struct kvmbpf_access *acc) { acc->value = environ; return 0; }\n"
        "KVMBPF_WRITE(struct kvmbpf_access *acc) { environ = write(acc->value); return 0; }\n"
    )
    with Device(source) as a, Device(source) as b:
        a.poke(0, 4)
        assert (a.peek(0), b.peek(0)) == (5, 0)
