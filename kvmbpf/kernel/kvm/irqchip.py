# SPDX-License-Identifier: GPL-2.0-or-later
"""Which interrupt controllers a VM has in KVM.

KVM has no call for it, and none at all for another process. It keeps the answer in the VM,
from where it is read (`kvmbpf.kernel.libbpf.kernel_word`): for any VMM, whatever its command
line or its defaults were.

Source: enum kvm_irqchip_mode in arch/x86/include/asm/kvm_host.h, v6.12.
"""

from __future__ import annotations

from contextlib import ExitStack

from kvmbpf.errors import UnsupportedError
from kvmbpf.kernel.fd import OwnedFd
from kvmbpf.kernel.kvm.device import KvmDevice
from kvmbpf.kernel.kvm.vm import Vm
from kvmbpf.kernel.libbpf.btf import module_btf, module_names, vmlinux_btf
from kvmbpf.kernel.libbpf.kernel_word import find_member, read_kernel_word
from kvmbpf.model.irqchip import IrqChip

_MODE = ("kvm", "arch.irqchip_mode")
_CHIPS = {
    "KVM_IRQCHIP_NONE": IrqChip.NONE,
    "KVM_IRQCHIP_KERNEL": IrqChip.KERNEL,
    "KVM_IRQCHIP_SPLIT": IrqChip.SPLIT,
}


def vm_irqchip(vm: Vm | KvmDevice) -> IrqChip:
    """Return where the interrupt controllers of a VM are.

    :param vm: the VM, of this process or borrowed; or a BPF device in it.
    :return: never UNKNOWN.
    :raise UnsupportedError: when the kernel's types do not say where KVM has it.
    :raise KernelCallError: EPERM without CAP_BPF and CAP_PERFMON; EINVAL or EACCES when
        the kernel does not let programs read its memory.
    """
    steps = [("kvm_device", "kvm"), _MODE] if isinstance(vm, KvmDevice) else [_MODE]
    return _mode(vm, steps)


def _mode(fd: OwnedFd, steps: list[tuple[str, str]]) -> IrqChip:
    with ExitStack() as stack:
        btf = vmlinux_btf()
        if "kvm" in module_names():
            btf = stack.enter_context(module_btf("kvm"))
        names = btf.enumerators(find_member(btf, *_MODE).type_id)
        word = read_kernel_word(fd, btf, steps)
        for name, value in names.items():
            if value == word and name in _CHIPS:
                return _CHIPS[name]
    raise UnsupportedError(
        "kvm.arch.irqchip_mode",
        found=f"{word}",
        needed=f"one of {', '.join(_CHIPS)}",
        mend="tell its authors which kernel this is",
    )
