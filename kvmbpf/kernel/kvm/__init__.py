# SPDX-License-Identifier: GPL-2.0-or-later
"""KVM's descriptors, one type each: system, VM, vCPU, device.

A type has the calls that its kind of descriptor takes, and no others. Every
object owns its descriptor and closes it as a context manager.
"""

from kvmbpf.kernel.kvm.device import KvmDevice
from kvmbpf.kernel.kvm.process import borrow_vm, open_bpf_device
from kvmbpf.kernel.kvm.system import Kvm
from kvmbpf.kernel.kvm.vcpu import Vcpu
from kvmbpf.kernel.kvm.vm import Vm

__all__ = ["Kvm", "KvmDevice", "Vcpu", "Vm", "borrow_vm", "open_bpf_device"]
