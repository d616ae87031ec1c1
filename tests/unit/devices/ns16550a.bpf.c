// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A 16550A serial port that sends only, for the kernel's 8250 drivers
 *
 * Written from kvmbpf.bpf.h and docs/devices.md alone, to see that they suffice.
 * What the guest sends goes to a ring buffer, byte by byte; in loopback mode it
 * is received. Registers are a byte each, as reg-shift 0 has them.
 */
#include <linux/serial_reg.h>
#include <kvmbpf.bpf.h>

KVMBPF_DEVICE(ns16550a, .compatible = "ns16550a", .regions = { KVMBPF_PIO(8), KVMBPF_MMIO(8) },
	      .irqs = 1, .level_irqs = 1, .flags = KVMBPF_RESETS);

KVMBPF_PROPERTY("clock-frequency", "<1843200>");
KVMBPF_PROPERTY("reg-shift", "<0>");

#define FIFO_BYTES 16

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} sent SEC(".maps");

struct uart {
	__u8 ier, lcr, mcr, scr, dll, dlm, fcr;
	__u8 thr_empty; /* an interrupt for it is due */
	__u8 head, count;
	__u8 fifo[FIFO_BYTES];
};

struct uart uart = { .thr_empty = 1 };
__u64 bytes_sent;

static __always_inline __u8 reason(void)
{
	if (uart.ier & UART_IER_RDI && uart.count)
		return UART_IIR_RDI;
	if (uart.ier & UART_IER_THRI && uart.thr_empty)
		return UART_IIR_THRI;
	return UART_IIR_NO_INT;
}

static __always_inline int set_line(struct kvmbpf_access *acc)
{
	return kvmbpf_irq(acc, 0, reason() != UART_IIR_NO_INT);
}

static __always_inline void send(__u8 byte)
{
	uart.thr_empty = 1;
	if (!(uart.mcr & UART_MCR_LOOP)) {
		bytes_sent++;
		bpf_ringbuf_output(&sent, &byte, sizeof(byte), 0);
		return;
	}
	if (uart.count < FIFO_BYTES) {
		uart.fifo[(uart.head + uart.count) % FIFO_BYTES] = byte;
		uart.count++;
	}
}

static __always_inline __u8 receive(void)
{
	__u8 byte;

	if (!uart.count)
		return 0;
	byte = uart.fifo[uart.head % FIFO_BYTES];
	uart.head = (uart.head + 1) % FIFO_BYTES;
	uart.count--;
	return byte;
}

/* The modem's lines: what loopback feeds back, else a modem that is ready. */
static __always_inline __u8 modem_status(void)
{
	__u8 out = uart.mcr;

	if (!(out & UART_MCR_LOOP))
		return UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS;
	return (out & UART_MCR_RTS ? UART_MSR_CTS : 0) | (out & UART_MCR_DTR ? UART_MSR_DSR : 0) |
	       (out & UART_MCR_OUT1 ? UART_MSR_RI : 0) | (out & UART_MCR_OUT2 ? UART_MSR_DCD : 0);
}

static __always_inline __u8 identify(void)
{
	__u8 found = reason();

	if (found == UART_IIR_THRI)
		uart.thr_empty = 0; /* a read of IIR takes it back */
	return found | (uart.fcr & UART_FCR_ENABLE_FIFO ? 0xc0 : 0);
}

KVMBPF_READ(struct kvmbpf_access *acc)
{
	int latch = uart.lcr & UART_LCR_DLAB;

	if (acc->len != 1)
		return KVMBPF_DECLINE;

	switch (acc->offset) {
	case UART_RX:
		acc->value = latch ? uart.dll : receive();
		break;
	case UART_IER:
		acc->value = latch ? uart.dlm : uart.ier;
		break;
	case UART_IIR:
		acc->value = identify();
		break;
	case UART_LCR:
		acc->value = uart.lcr;
		break;
	case UART_MCR:
		acc->value = uart.mcr;
		break;
	case UART_LSR:
		acc->value = UART_LSR_THRE | UART_LSR_TEMT | (uart.count ? UART_LSR_DR : 0);
		break;
	case UART_MSR:
		acc->value = modem_status();
		break;
	case UART_SCR:
		acc->value = uart.scr;
		break;
	}
	return set_line(acc);
}

KVMBPF_WRITE(struct kvmbpf_access *acc)
{
	int latch = uart.lcr & UART_LCR_DLAB;
	__u8 value = acc->value;

	if (acc->len != 1)
		return KVMBPF_DECLINE;

	switch (acc->offset) {
	case UART_TX:
		if (latch)
			uart.dll = value;
		else
			send(value);
		break;
	case UART_IER:
		if (latch) {
			uart.dlm = value;
		} else {
			if (value & ~uart.ier & UART_IER_THRI)
				uart.thr_empty = 1;
			uart.ier = value & 0xf;
		}
		break;
	case UART_FCR:
		uart.fcr = value;
		if (value & UART_FCR_CLEAR_RCVR)
			uart.count = 0;
		break;
	case UART_LCR:
		uart.lcr = value;
		break;
	case UART_MCR:
		uart.mcr = value & 0x1f;
		break;
	case UART_SCR:
		uart.scr = value;
		break;
	}
	return set_line(acc);
}

KVMBPF_RESET(struct kvmbpf_access *acc)
{
	__builtin_memset(&uart, 0, sizeof(uart));
	uart.thr_empty = 1;
	return 0;
}
