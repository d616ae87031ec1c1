// SPDX-License-Identifier: GPL-2.0-only
/*
 * The demo device's driver: an ordinary platform driver in the guest.
 *
 * It knows nothing of eBPF. It binds to "kvmbpf,demo" through the device tree
 * or through ACPI (PRP0001), and lets user space make accesses of a known kind
 * and number, so that both sides can be compared. The files that it has in
 * sysfs are described in sysfs-driver-kvmbpf-demo.
 *
 * Registers of 8 bytes are accessed whole: 64-bit guests only.
 */

#include <linux/dma-mapping.h>
#include <linux/interrupt.h>
#include <linux/kernel.h>
#include <linux/mod_devicetable.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/sysfs.h>

#include "kvmbpf_demo.h"

static void demo_put_action(void *data)
{
	demo_put(data);
}

/* Not devm_kzalloc(): open files of the character device outlive the binding. */
static struct demo *demo_alloc(struct device *dev)
{
	struct demo *demo = kzalloc(sizeof(*demo), GFP_KERNEL);
	int ret;

	if (!demo)
		return ERR_PTR(-ENOMEM);
	demo->dev = dev;
	kref_init(&demo->refs);
	mutex_init(&demo->doorbell_lock);
	init_waitqueue_head(&demo->rung);
	demo_ring_init(demo);
	demo_hammer_init(demo);
	demo_selftest_init(demo);

	ret = devm_add_action_or_reset(dev, demo_put_action, demo);
	return ret ? ERR_PTR(ret) : demo;
}

static int demo_map_registers(struct platform_device *pdev, struct demo *demo)
{
	struct resource *res;
	u32 id;

	demo->base = devm_platform_get_and_ioremap_resource(pdev, 0, &res);
	if (IS_ERR(demo->base))
		return PTR_ERR(demo->base);
	if (resource_size(res) < DEMO_REGION_SIZE)
		return dev_err_probe(demo->dev, -EINVAL, "%pR is too small\n",
				     res);

	id = demo_readl(demo, DEMO_REG_ID);
	if (id != DEMO_ID)
		return dev_err_probe(demo->dev, -ENODEV,
				     "%pR: ID is %#x, not %#x\n", res, id,
				     DEMO_ID);
	return 0;
}

static irqreturn_t demo_doorbell_interrupt(int irq, void *data)
{
	struct demo *demo = data;

	atomic64_inc(&demo->interrupts);
	wake_up_all(&demo->rung);
	return IRQ_HANDLED;
}

/* In a thread: a level-triggered line, which stays masked until this is done. */
static irqreturn_t demo_events_interrupt(int irq, void *data)
{
	struct demo *demo = data;
	u32 events = demo_readl(demo, DEMO_REG_EVENTS) & DEMO_EVENTS_ALL;

	if (!events)
		return IRQ_NONE;
	/* Cleared before it is looked at, so that what comes now raises it anew. */
	demo_writel(demo, DEMO_REG_EVENTS, events);
	if (events & DEMO_EVENT_TICK)
		atomic64_inc(&demo->tick_events);
	if (events & DEMO_EVENT_RING) {
		atomic64_inc(&demo->ring_events);
		demo_ring_event(demo);
	}
	return IRQ_HANDLED;
}

/* The number of an interrupt that the device may lack; 0 if it does. */
static int demo_get_irq(struct platform_device *pdev, unsigned int index)
{
	int irq = platform_get_irq_optional(pdev, index);

	return irq == -ENXIO ? 0 : irq;
}

static int demo_request_irqs(struct platform_device *pdev, struct demo *demo)
{
	struct device *dev = &pdev->dev;
	int ret;

	demo->irq = demo_get_irq(pdev, DEMO_IRQ_DOORBELL);
	if (demo->irq < 0)
		return demo->irq;
	demo->events_irq = demo_get_irq(pdev, DEMO_IRQ_EVENTS);
	if (demo->events_irq < 0)
		return demo->events_irq;

	if (demo->irq) {
		ret = devm_request_irq(dev, demo->irq, demo_doorbell_interrupt,
				       0, dev_name(dev), demo);
		if (ret)
			return ret;
	}
	if (!demo->events_irq)
		return 0;
	return devm_request_threaded_irq(dev, demo->events_irq, NULL,
					 demo_events_interrupt, IRQF_ONESHOT,
					 dev_name(dev), demo);
}

static const struct attribute_group *demo_groups[] = {
	&demo_registers_group,
	&demo_ring_group,
	&demo_hammer_group,
	&demo_selftest_group,
	NULL,
};

static void demo_remove_groups(void *data)
{
	struct demo *demo = data;

	device_remove_groups(demo->dev, demo_groups);
}

/* The first step of an unbinding. */
static void demo_stop_action(void *data)
{
	demo_stop(data);
}

/*
 * The files could be the driver core's to add (dev_groups), but then it waits
 * for those who are in them before it tells the driver, and one may be in
 * hammer/run for days.
 */
static int demo_add_groups(struct demo *demo)
{
	int ret = device_add_groups(demo->dev, demo_groups);

	if (ret)
		return ret;
	ret = devm_add_action_or_reset(demo->dev, demo_remove_groups, demo);
	if (ret)
		return ret;
	return devm_add_action_or_reset(demo->dev, demo_stop_action, demo);
}

static int demo_probe(struct platform_device *pdev)
{
	struct device *dev = &pdev->dev;
	struct demo *demo = demo_alloc(dev);
	int ret;

	if (IS_ERR(demo))
		return PTR_ERR(demo);
	platform_set_drvdata(pdev, demo);

	ret = demo_map_registers(pdev, demo);
	if (ret)
		return ret;
	ret = demo_request_irqs(pdev, demo);
	if (ret)
		return dev_err_probe(dev, ret, "no interrupt\n");
	ret = demo_ring_setup(demo);
	if (ret)
		return dev_err_probe(dev, ret, "no ring\n");
	ret = demo_chardev_add(demo);
	if (ret)
		return dev_err_probe(dev, ret, "no character device\n");
	ret = demo_hammer_add(demo);
	if (ret)
		return ret;
	ret = demo_add_groups(demo);
	if (ret)
		return dev_err_probe(dev, ret, "no files in sysfs\n");

	dev_info(dev, "version %u at %pR, irqs %d and %d, ring of %u records\n",
		 demo_readl(demo, DEMO_REG_VERSION),
		 platform_get_resource(pdev, IORESOURCE_MEM, 0), demo->irq,
		 demo->events_irq, demo->ring.size);
	return 0;
}

/* The next kernel must not find its memory written to. */
static void demo_shutdown(struct platform_device *pdev)
{
	struct demo *demo = platform_get_drvdata(pdev);

	demo_writel(demo, DEMO_REG_CONTROL, DEMO_CONTROL_RESET);
}

/* Also serves ACPI: a PRP0001 device names the same string in its _DSD. */
static const struct of_device_id demo_of_match[] = {
	{ .compatible = "kvmbpf,demo" },
	{},
};
MODULE_DEVICE_TABLE(of, demo_of_match);

static struct platform_driver demo_driver = {
	.probe = demo_probe,
	.shutdown = demo_shutdown,
	.driver = {
		.name = "kvmbpf-demo",
		.of_match_table = demo_of_match,
	},
};
module_platform_driver(demo_driver);

MODULE_AUTHOR("The kvmbpf authors");
MODULE_DESCRIPTION("Demo device of kvmbpf");
MODULE_LICENSE("GPL");
