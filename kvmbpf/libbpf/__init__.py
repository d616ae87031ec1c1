# SPDX-License-Identifier: GPL-2.0-or-later
"""libbpf through ctypes: objects, maps, struct_ops, links.

lib, protos, log      the library, its prototypes, its messages
btf, layout           types; whether two lay out memory equally
object                an ELF file, opened and loaded
 |-- program, map     what it holds; maps also by pin
 |-- globals          variables by name
 |-- verifier_log     why it was refused
struct_ops, link      attaching programs, replacing them
carry                 state that goes over to a new version
pinning               names in bpffs
"""
