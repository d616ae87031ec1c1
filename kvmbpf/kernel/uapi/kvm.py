# SPDX-License-Identifier: GPL-2.0-or-later
"""KVM's numbers and structures, as far as kvmbpf uses them.

Names keep the kernel's spelling. ``tests/lab/kernel/test_uapi.py`` compiles the same
names against the headers of the lab's kernel and compares every one.

Source: include/uapi/linux/kvm.h, linux 6.12 with the series of kernel_patches.
"""

from __future__ import annotations

import ctypes

KVMIO = 0xAE


def _ioc(direction: int, number: int, size: int) -> int:
    """Encode an ioctl as asm-generic's _IOC() does (x86, arm64, riscv)."""
    return direction << 30 | size << 16 | KVMIO << 8 | number


def _io(number: int) -> int:
    return _ioc(0, number, 0)


def _iow(number: int, size: int) -> int:
    return _ioc(1, number, size)


def _ior(number: int, size: int) -> int:
    return _ioc(2, number, size)


def _iowr(number: int, size: int) -> int:
    return _ioc(3, number, size)


class kvm_userspace_memory_region(ctypes.Structure):
    """Guest memory: a slot, its flags, gpa, size and userspace address."""

    _fields_ = (
        ("slot", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("guest_phys_addr", ctypes.c_uint64),
        ("memory_size", ctypes.c_uint64),
        ("userspace_addr", ctypes.c_uint64),
    )


class kvm_create_device(ctypes.Structure):
    """A device to create: its type and flags in, its descriptor out."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("fd", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
    )


class kvm_device_attr(ctypes.Structure):
    """An attribute of a device: group, number, and where its value is."""

    _fields_ = (
        ("flags", ctypes.c_uint32),
        ("group", ctypes.c_uint32),
        ("attr", ctypes.c_uint64),
        ("addr", ctypes.c_uint64),
    )


class kvm_ioeventfd(ctypes.Structure):
    """An eventfd that a guest's write signals."""

    _fields_ = (
        ("datamatch", ctypes.c_uint64),
        ("addr", ctypes.c_uint64),
        ("len", ctypes.c_uint32),
        ("fd", ctypes.c_int32),
        ("flags", ctypes.c_uint32),
        ("pad", ctypes.c_uint8 * 36),
    )


class kvm_bpf_region(ctypes.Structure):
    """A region of a BPF device: bus, base (gpa or port) and size in bytes."""

    _fields_ = (
        ("bus", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("base", ctypes.c_uint64),
        ("size", ctypes.c_uint64),
        ("pad", ctypes.c_uint64 * 2),
    )


class kvm_bpf_irq(ctypes.Structure):
    """An interrupt of a BPF device: its gsi and trigger."""

    _fields_ = (
        ("gsi", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("pad", ctypes.c_uint64),
    )


class kvm_bpf_limits(ctypes.Structure):
    """What a BPF device's programs may cost before they are ejected; times in ns."""

    _fields_ = (
        ("max_faults", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("max_run_ns", ctypes.c_uint64),
        ("pad", ctypes.c_uint64 * 2),
    )


class kvm_bpf_fault(ctypes.Structure):
    """A fault of a BPF device: when, why, and at which access; times in ns."""

    _fields_ = (
        ("time_ns", ctypes.c_uint64),
        ("run_ns", ctypes.c_uint64),
        ("offset", ctypes.c_uint64),
        ("reason", ctypes.c_uint32),
        ("error", ctypes.c_int32),
        ("region", ctypes.c_uint32),
        ("len", ctypes.c_uint32),
        ("vcpu_id", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
    )


class kvm_bpf_info(ctypes.Structure):
    """What a BPF device is and how it fares; regions and irqs are bitmaps."""

    _fields_ = (
        ("id", ctypes.c_uint64),
        ("state", ctypes.c_uint32),
        ("link_id", ctypes.c_uint32),
        ("regions", ctypes.c_uint32),
        ("irqs", ctypes.c_uint32),
        ("asserted", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("replaced", ctypes.c_uint64),
        ("faults", ctypes.c_uint64),
        ("last_fault", kvm_bpf_fault),
        ("pad", ctypes.c_uint64 * 4),
    )


class kvm_bpf_stats(ctypes.Structure):
    """The accesses to a region of a BPF device; times in ns."""

    _fields_ = (
        ("reads", ctypes.c_uint64),
        ("writes", ctypes.c_uint64),
        ("ns", ctypes.c_uint64),
        ("max_ns", ctypes.c_uint64),
        ("declines", ctypes.c_uint64),
        ("faults", ctypes.c_uint64),
        ("pad", ctypes.c_uint64 * 2),
    )


class kvm_pic_state(ctypes.Structure):
    """An 8259 of an x86 VM; bit i of a field is line i."""

    _fields_ = tuple(
        (name, ctypes.c_uint8)
        for name in (
            *("last_irr", "irr", "imr", "isr", "priority_add", "irq_base", "read_reg_select"),
            *("poll", "special_mask", "init_state", "auto_eoi", "rotate_on_auto_eoi"),
            *("special_fully_nested_mode", "init4", "elcr", "elcr_mask"),
        )
    )


class kvm_irqchip_state(ctypes.Union):
    """The part of kvm_irqchip that depends on the chip."""

    _fields_ = (("dummy", ctypes.c_uint8 * 512), ("pic", kvm_pic_state))


class kvm_irqchip(ctypes.Structure):
    """An interrupt controller of an x86 VM."""

    _fields_ = (
        ("chip_id", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
        ("chip", kvm_irqchip_state),
    )


class kvm_regs(ctypes.Structure):
    """General registers of an x86 vCPU."""

    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in (
            *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp"),
            *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
            *("rip", "rflags"),
        )
    )


class kvm_segment(ctypes.Structure):
    """A segment register of an x86 vCPU."""

    _fields_ = (
        ("base", ctypes.c_uint64),
        ("limit", ctypes.c_uint32),
        ("selector", ctypes.c_uint16),
        *((name, ctypes.c_uint8) for name in ("type", "present", "dpl", "db")),
        *((name, ctypes.c_uint8) for name in ("s", "l", "g", "avl")),
        ("unusable", ctypes.c_uint8),
        ("padding", ctypes.c_uint8),
    )


class kvm_dtable(ctypes.Structure):
    """A descriptor table register of an x86 vCPU."""

    _fields_ = (
        ("base", ctypes.c_uint64),
        ("limit", ctypes.c_uint16),
        ("padding", ctypes.c_uint16 * 3),
    )


class kvm_sregs(ctypes.Structure):
    """Special registers of an x86 vCPU."""

    _fields_ = (
        *((name, kvm_segment) for name in ("cs", "ds", "es", "fs", "gs", "ss")),
        ("tr", kvm_segment),
        ("ldt", kvm_segment),
        ("gdt", kvm_dtable),
        ("idt", kvm_dtable),
        *((name, ctypes.c_uint64) for name in ("cr0", "cr2", "cr3", "cr4", "cr8")),
        ("efer", ctypes.c_uint64),
        ("apic_base", ctypes.c_uint64),
        ("interrupt_bitmap", ctypes.c_uint64 * 4),
    )


class kvm_run_mmio(ctypes.Structure):
    """The exit of an MMIO access, `kvm_run.mmio`."""

    _fields_ = (
        ("phys_addr", ctypes.c_uint64),
        ("data", ctypes.c_uint8 * 8),
        ("len", ctypes.c_uint32),
        ("is_write", ctypes.c_uint8),
    )


class kvm_run_io(ctypes.Structure):
    """The exit of a port access, `kvm_run.io`."""

    _fields_ = (
        ("direction", ctypes.c_uint8),
        ("size", ctypes.c_uint8),
        ("port", ctypes.c_uint16),
        ("count", ctypes.c_uint32),
        ("data_offset", ctypes.c_uint64),
    )


class kvm_run_exit(ctypes.Union):
    """The part of kvm_run that depends on the exit's reason."""

    _fields_ = (
        ("io", kvm_run_io),
        ("mmio", kvm_run_mmio),
        ("padding", ctypes.c_uint8 * 256),
    )


class kvm_run(ctypes.Structure):
    """What a vCPU shares with its thread, up to the exit's details."""

    _anonymous_ = ("exit",)
    _fields_ = (
        ("request_interrupt_window", ctypes.c_uint8),
        ("immediate_exit", ctypes.c_uint8),
        ("padding1", ctypes.c_uint8 * 6),
        ("exit_reason", ctypes.c_uint32),
        ("ready_for_interrupt_injection", ctypes.c_uint8),
        ("if_flag", ctypes.c_uint8),
        ("flags", ctypes.c_uint16),
        ("cr8", ctypes.c_uint64),
        ("apic_base", ctypes.c_uint64),
        ("exit", kvm_run_exit),
    )


KVM_GET_API_VERSION = _io(0x00)
KVM_CREATE_VM = _io(0x01)
KVM_CHECK_EXTENSION = _io(0x03)
KVM_GET_VCPU_MMAP_SIZE = _io(0x04)
KVM_CREATE_VCPU = _io(0x41)
KVM_SET_USER_MEMORY_REGION = _iow(0x46, ctypes.sizeof(kvm_userspace_memory_region))
KVM_CREATE_IRQCHIP = _io(0x60)
KVM_GET_IRQCHIP = _iowr(0x62, ctypes.sizeof(kvm_irqchip))
KVM_IOEVENTFD = _iow(0x79, ctypes.sizeof(kvm_ioeventfd))
KVM_RUN = _io(0x80)
KVM_GET_REGS = _ior(0x81, ctypes.sizeof(kvm_regs))
KVM_SET_REGS = _iow(0x82, ctypes.sizeof(kvm_regs))
KVM_GET_SREGS = _ior(0x83, ctypes.sizeof(kvm_sregs))
KVM_SET_SREGS = _iow(0x84, ctypes.sizeof(kvm_sregs))
KVM_GET_TSC_KHZ = _io(0xA3)
KVM_CREATE_DEVICE = _iowr(0xE0, ctypes.sizeof(kvm_create_device))
KVM_SET_DEVICE_ATTR = _iow(0xE1, ctypes.sizeof(kvm_device_attr))
KVM_GET_DEVICE_ATTR = _iow(0xE2, ctypes.sizeof(kvm_device_attr))
KVM_HAS_DEVICE_ATTR = _iow(0xE3, ctypes.sizeof(kvm_device_attr))

KVM_API_VERSION = 12
KVM_CREATE_DEVICE_TEST = 1
KVM_DEV_TYPE_VFIO = 4
KVM_IRQCHIP_PIC_MASTER = 0
KVM_IOEVENTFD_FLAG_PIO = 2
KVM_EXIT_IO = 2
KVM_EXIT_HLT = 5
KVM_EXIT_MMIO = 6
KVM_EXIT_SHUTDOWN = 8

KVM_CAP_BPF_DEVICE = 239
KVM_DEV_TYPE_BPF = 12
KVM_DEV_BPF_REGION = 1
KVM_DEV_BPF_NR_REGIONS = 8
KVM_BPF_BUS_MMIO = 0
KVM_BPF_BUS_PIO = 1
KVM_DEV_BPF_IRQ = 2
KVM_DEV_BPF_NR_IRQS = 32
KVM_BPF_IRQ_LEVEL = 1
KVM_DEV_BPF_LIMITS = 3
KVM_BPF_NO_LIMIT = 0xFFFFFFFF
KVM_DEV_BPF_INFO = 4
KVM_BPF_FAULT_ERROR = 1
KVM_BPF_FAULT_SLOW = 2
KVM_BPF_FAULT_WRITE = 1
KVM_BPF_STATE_ATTACHED = 1
KVM_BPF_STATE_EJECTED = 2
KVM_DEV_BPF_RESET = 5
KVM_DEV_BPF_STATS = 6
KVM_DEV_BPF_STATS_ENABLE = 7
KVM_DEV_BPF_OPEN = 8
