// SPDX-License-Identifier: GPL-2.0-only
/*
 * The demo device's driver: an ordinary platform driver in the guest.
 *
 * It knows nothing of eBPF. It binds to "kvmbpf,demo" through the device tree
 * or through ACPI (PRP0001), and lets user space make accesses of a known kind
 * and number through sysfs, so that both sides can be compared:
 *
 *	id, version, doorbells		registers
 *	counter				the COUNTER register, raw
 *	probe_declined			8 bytes from where the device declines
 *	ring				write N: N doorbells, each interrupt awaited
 *	interrupts			interrupts taken
 *	hammer				write N: N reads of COUNTER, each checked
 *	hammer_result			what the last hammer saw
 *	accesses			MMIO accesses made here, all of them
 *
 * COUNTER is read whole by one 8-byte access: 64-bit guests only.
 */

#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/ktime.h>
#include <linux/mod_devicetable.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/platform_device.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/spinlock.h>
#include <linux/sysfs.h>

#include "demo_regs.h"

#define DEMO_IRQ_TIMEOUT (5 * HZ)

/* What a hammer saw. A wrong reply leaves a gap, so the next one is lost too. */
struct demo_hammer {
	u64 reads;
	u64 lost; /* its number was not the previous one + 1 */
	u64 wrong; /* its checksum did not match: the rest is not looked at */
	u64 back; /* its version was below the previous one */
	u64 first;
	u64 last;
	u64 version_changes;
	u64 min_ns;
	u64 max_ns;
	u8 first_version;
	u8 last_version;
};

struct demo {
	void __iomem *base;
	int irq; /* 0: none */
	atomic64_t reads;
	atomic64_t writes;
	atomic64_t interrupts;
	struct completion rung;
	struct mutex ring_lock; /* one ring at a time: rung is its own */
	struct mutex counter_lock; /* one reader of COUNTER: gaps mean loss */
	spinlock_t result_lock; /* guards result */
	struct demo_hammer result;
};

/* Every access to the device goes through these three, and is counted. */

static u32 demo_readl(struct demo *demo, unsigned int reg)
{
	atomic64_inc(&demo->reads);
	return readl(demo->base + reg);
}

static u64 demo_readq(struct demo *demo, unsigned int reg)
{
	atomic64_inc(&demo->reads);
	return readq(demo->base + reg);
}

static void demo_writel(struct demo *demo, unsigned int reg, u32 value)
{
	atomic64_inc(&demo->writes);
	writel(value, demo->base + reg);
}

static u8 demo_reply_version(u64 reply)
{
	return reply >> DEMO_REPLY_VERSION_SHIFT;
}

static bool demo_reply_valid(u64 reply)
{
	u8 sum = DEMO_REPLY_CHECKSUM_SEED ^ demo_reply_version(reply);
	u64 number = reply & DEMO_REPLY_NUMBER_MASK;

	for (; number; number >>= 8)
		sum ^= number;
	return sum == (u8)(reply >> DEMO_REPLY_CHECKSUM_SHIFT);
}

static void demo_hammer_check(struct demo_hammer *h, u64 reply)
{
	u64 number = reply & DEMO_REPLY_NUMBER_MASK;
	u8 version = demo_reply_version(reply);
	bool is_first = h->reads == h->wrong;

	h->reads++;
	if (!demo_reply_valid(reply)) {
		h->wrong++;
		return;
	}
	if (is_first) {
		h->first = number;
		h->first_version = version;
	} else {
		if (number != ((h->last + 1) & DEMO_REPLY_NUMBER_MASK))
			h->lost++;
		if (version < h->last_version)
			h->back++;
		if (version != h->last_version)
			h->version_changes++;
	}
	h->last = number;
	h->last_version = version;
}

static int demo_hammer_run(struct demo *demo, u64 count, struct demo_hammer *h)
{
	u64 begin, reply, ns;

	for (; count; count--) {
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
		begin = ktime_get_ns();
		reply = demo_readq(demo, DEMO_REG_COUNTER);
		ns = ktime_get_ns() - begin;
		h->min_ns = h->reads ? min(h->min_ns, ns) : ns;
		h->max_ns = max(h->max_ns, ns);
		demo_hammer_check(h, reply);
	}
	return 0;
}

static ssize_t id_show(struct device *dev, struct device_attribute *attr,
		       char *buf)
{
	return sysfs_emit(buf, "0x%08x\n",
			  demo_readl(dev_get_drvdata(dev), DEMO_REG_ID));
}
static DEVICE_ATTR_RO(id);

static ssize_t version_show(struct device *dev, struct device_attribute *attr,
			    char *buf)
{
	return sysfs_emit(buf, "%u\n",
			  demo_readl(dev_get_drvdata(dev), DEMO_REG_VERSION));
}
static DEVICE_ATTR_RO(version);

static ssize_t counter_show(struct device *dev, struct device_attribute *attr,
			    char *buf)
{
	struct demo *demo = dev_get_drvdata(dev);
	u64 reply;

	if (!mutex_trylock(&demo->counter_lock))
		return -EBUSY;
	reply = demo_readq(demo, DEMO_REG_COUNTER);
	mutex_unlock(&demo->counter_lock);
	return sysfs_emit(buf, "0x%016llx\n", reply);
}
static DEVICE_ATTR_RO(counter);

static ssize_t doorbells_show(struct device *dev, struct device_attribute *attr,
			      char *buf)
{
	return sysfs_emit(buf, "%llu\n",
			  demo_readq(dev_get_drvdata(dev), DEMO_REG_DOORBELLS));
}
static DEVICE_ATTR_RO(doorbells);

static ssize_t probe_declined_show(struct device *dev,
				   struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "0x%016llx\n",
			  demo_readq(dev_get_drvdata(dev), DEMO_REG_DECLINED));
}
static DEVICE_ATTR_RO(probe_declined);

static ssize_t interrupts_show(struct device *dev,
			       struct device_attribute *attr, char *buf)
{
	struct demo *demo = dev_get_drvdata(dev);

	return sysfs_emit(buf, "%llu\n", (u64)atomic64_read(&demo->interrupts));
}
static DEVICE_ATTR_RO(interrupts);

static ssize_t accesses_show(struct device *dev, struct device_attribute *attr,
			     char *buf)
{
	struct demo *demo = dev_get_drvdata(dev);

	return sysfs_emit(buf, "reads=%llu writes=%llu\n",
			  (u64)atomic64_read(&demo->reads),
			  (u64)atomic64_read(&demo->writes));
}
static DEVICE_ATTR_RO(accesses);

/* Ring once and wait for the interrupt that this doorbell raises. */
static int demo_ring(struct demo *demo)
{
	long left;

	reinit_completion(&demo->rung);
	demo_writel(demo, DEMO_REG_DOORBELL, 1);
	left = wait_for_completion_killable_timeout(&demo->rung,
						    DEMO_IRQ_TIMEOUT);
	if (left < 0)
		return -EINTR;
	return left ? 0 : -ETIMEDOUT;
}

static ssize_t ring_store(struct device *dev, struct device_attribute *attr,
			  const char *buf, size_t size)
{
	struct demo *demo = dev_get_drvdata(dev);
	u64 count;
	int ret;

	ret = kstrtou64(buf, 0, &count);
	if (ret)
		return ret;
	if (!demo->irq)
		return -ENXIO;
	if (!mutex_trylock(&demo->ring_lock))
		return -EBUSY;
	for (; count && !ret; count--)
		ret = demo_ring(demo);
	mutex_unlock(&demo->ring_lock);
	return ret ? ret : size;
}
static DEVICE_ATTR_WO(ring);

static ssize_t hammer_store(struct device *dev, struct device_attribute *attr,
			    const char *buf, size_t size)
{
	struct demo *demo = dev_get_drvdata(dev);
	struct demo_hammer h = {};
	u64 count;
	int ret;

	ret = kstrtou64(buf, 0, &count);
	if (ret)
		return ret;
	if (!mutex_trylock(&demo->counter_lock))
		return -EBUSY;
	ret = demo_hammer_run(demo, count, &h);
	spin_lock(&demo->result_lock);
	demo->result = h;
	spin_unlock(&demo->result_lock);
	mutex_unlock(&demo->counter_lock);
	return ret ? ret : size;
}
static DEVICE_ATTR_WO(hammer);

static ssize_t hammer_result_show(struct device *dev,
				  struct device_attribute *attr, char *buf)
{
	struct demo *demo = dev_get_drvdata(dev);
	struct demo_hammer h;
	int at;

	spin_lock(&demo->result_lock);
	h = demo->result;
	spin_unlock(&demo->result_lock);
	at = sysfs_emit(buf, "reads=%llu lost=%llu wrong=%llu back=%llu",
			h.reads, h.lost, h.wrong, h.back);
	at += sysfs_emit_at(buf, at, " first_version=%u last_version=%u",
			    h.first_version, h.last_version);
	at += sysfs_emit_at(buf, at, " version_changes=%llu first=%llu",
			    h.version_changes, h.first);
	at += sysfs_emit_at(buf, at, " last=%llu min_ns=%llu max_ns=%llu\n",
			    h.last, h.min_ns, h.max_ns);
	return at;
}
static DEVICE_ATTR_RO(hammer_result);

static struct attribute *demo_attrs[] = {
	&dev_attr_id.attr,
	&dev_attr_version.attr,
	&dev_attr_counter.attr,
	&dev_attr_doorbells.attr,
	&dev_attr_probe_declined.attr,
	&dev_attr_interrupts.attr,
	&dev_attr_accesses.attr,
	&dev_attr_ring.attr,
	&dev_attr_hammer.attr,
	&dev_attr_hammer_result.attr,
	NULL,
};
ATTRIBUTE_GROUPS(demo);

static irqreturn_t demo_interrupt(int irq, void *data)
{
	struct demo *demo = data;

	atomic64_inc(&demo->interrupts);
	complete(&demo->rung);
	return IRQ_HANDLED;
}

static int demo_request_irq(struct platform_device *pdev, struct demo *demo)
{
	int irq = platform_get_irq_optional(pdev, 0);
	int ret;

	if (irq == -ENXIO)
		return 0;
	if (irq < 0)
		return irq;
	ret = devm_request_irq(&pdev->dev, irq, demo_interrupt, 0,
			       dev_name(&pdev->dev), demo);
	if (ret)
		return ret;
	demo->irq = irq;
	return 0;
}

static int demo_probe(struct platform_device *pdev)
{
	struct device *dev = &pdev->dev;
	struct resource *res;
	struct demo *demo;
	u32 id;
	int ret;

	demo = devm_kzalloc(dev, sizeof(*demo), GFP_KERNEL);
	if (!demo)
		return -ENOMEM;
	init_completion(&demo->rung);
	mutex_init(&demo->ring_lock);
	mutex_init(&demo->counter_lock);
	spin_lock_init(&demo->result_lock);

	demo->base = devm_platform_get_and_ioremap_resource(pdev, 0, &res);
	if (IS_ERR(demo->base))
		return PTR_ERR(demo->base);
	if (resource_size(res) < DEMO_REGION_SIZE)
		return dev_err_probe(dev, -EINVAL, "%pR is too small\n", res);

	id = demo_readl(demo, DEMO_REG_ID);
	if (id != DEMO_ID)
		return dev_err_probe(dev, -ENODEV, "%pR: ID is %#x, not %#x\n",
				     res, id, DEMO_ID);

	ret = demo_request_irq(pdev, demo);
	if (ret)
		return dev_err_probe(dev, ret, "no interrupt\n");

	platform_set_drvdata(pdev, demo);
	dev_info(dev, "version %u at %pR, irq %d\n",
		 demo_readl(demo, DEMO_REG_VERSION), res, demo->irq);
	return 0;
}

/* Also serves ACPI: a PRP0001 device names the same string in its _DSD. */
static const struct of_device_id demo_of_match[] = {
	{ .compatible = "kvmbpf,demo" },
	{},
};
MODULE_DEVICE_TABLE(of, demo_of_match);

static struct platform_driver demo_driver = {
	.probe = demo_probe,
	.driver = {
		.name = "kvmbpf-demo",
		.of_match_table = demo_of_match,
		.dev_groups = demo_groups,
	},
};
module_platform_driver(demo_driver);

MODULE_AUTHOR("The kvmbpf authors");
MODULE_DESCRIPTION("Demo device of kvmbpf");
MODULE_LICENSE("GPL");
