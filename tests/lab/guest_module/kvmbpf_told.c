// SPDX-License-Identifier: GPL-2.0-only
/*
 * A guest driver that says what it was told of its device.
 *
 * It binds to "kvmbpf,told" through ACPI (PRP0001) or through the device tree,
 * touches no register, and writes what the firmware says of each device into
 * its sysfs file "told", a line an item: regions, interrupts with their trigger,
 * and the properties that the test gives, read as a driver reads them, so that
 * both firmwares can be held to the same.
 */

#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/kernel.h>
#include <linux/mod_devicetable.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/property.h>
#include <linux/sysfs.h>

#define TOLD_MAX 8

static int tell_regions(struct platform_device *pdev, char *buf, int at)
{
	struct resource *res;
	int i;

	for (i = 0; (res = platform_get_mem_or_io(pdev, i)); i++)
		at += sysfs_emit_at(buf, at, "%s %#llx %#llx\n",
				    resource_type(res) == IORESOURCE_IO ? "io"
									: "mem",
				    (u64)res->start, (u64)resource_size(res));
	return at;
}

static int tell_irqs(struct platform_device *pdev, char *buf, int at)
{
	int i, irq;

	for (i = 0; (irq = platform_get_irq_optional(pdev, i)) > 0; i++) {
		u32 trigger = irq_get_trigger_type(irq);
		const char *word = "other";

		if (trigger == IRQ_TYPE_EDGE_RISING)
			word = "edge";
		else if (trigger == IRQ_TYPE_LEVEL_HIGH)
			word = "level";
		at += sysfs_emit_at(buf, at, "irq %lu %s\n",
				    irqd_to_hwirq(irq_get_irq_data(irq)), word);
	}
	return at;
}

static int tell_numbers(struct device *dev, const char *name, char *buf, int at)
{
	u32 values[TOLD_MAX];
	int i, count = device_property_count_u32(dev, name);

	if (count > TOLD_MAX)
		count = -E2BIG;
	if (count > 0)
		count = device_property_read_u32_array(dev, name, values, count)
				?: count;
	at += sysfs_emit_at(buf, at, "%s %d", name, count);
	for (i = 0; i < count; i++)
		at += sysfs_emit_at(buf, at, " %#x", values[i]);
	return at + sysfs_emit_at(buf, at, "\n");
}

static int tell_bytes(struct device *dev, const char *name, char *buf, int at)
{
	u8 values[TOLD_MAX];
	int count = device_property_count_u8(dev, name);

	if (count > TOLD_MAX)
		count = -E2BIG;
	if (count > 0)
		count = device_property_read_u8_array(dev, name, values, count)
				?: count;
	return at + sysfs_emit_at(buf, at, "%s %d %*ph\n", name, count,
				  max(count, 0), values);
}

static int tell_strings(struct device *dev, const char *name, char *buf, int at)
{
	const char *values[TOLD_MAX];
	int i, count = device_property_string_array_count(dev, name);

	if (count > TOLD_MAX)
		count = -E2BIG;
	if (count > 0)
		count = device_property_read_string_array(dev, name, values,
							  count);
	at += sysfs_emit_at(buf, at, "%s %d", name, count);
	for (i = 0; i < count; i++)
		at += sysfs_emit_at(buf, at, " [%s]", values[i]);
	return at + sysfs_emit_at(buf, at, "\n");
}

static ssize_t told_show(struct device *dev, struct device_attribute *attr,
			 char *buf)
{
	int at = tell_regions(to_platform_device(dev), buf, 0);

	at = tell_irqs(to_platform_device(dev), buf, at);
	at += sysfs_emit_at(buf, at, "told,on %d\n",
			    device_property_read_bool(dev, "told,on"));
	at += sysfs_emit_at(buf, at, "told,off %d\n",
			    device_property_read_bool(dev, "told,off"));
	at = tell_numbers(dev, "told,number", buf, at);
	at = tell_numbers(dev, "told,numbers", buf, at);
	at = tell_numbers(dev, "told,absent", buf, at);
	at = tell_bytes(dev, "told,bytes", buf, at);
	at = tell_strings(dev, "told,string", buf, at);
	return tell_strings(dev, "told,strings", buf, at);
}
static DEVICE_ATTR_RO(told);

static struct attribute *told_attrs[] = { &dev_attr_told.attr, NULL };
ATTRIBUTE_GROUPS(told);

static int told_probe(struct platform_device *pdev)
{
	return 0;
}

static const struct of_device_id told_of_match[] = {
	{ .compatible = "kvmbpf,told" }, {}
};
MODULE_DEVICE_TABLE(of, told_of_match);

static struct platform_driver told_driver = {
	.probe = told_probe,
	.driver = {
		.name = "kvmbpf-told",
		.of_match_table = told_of_match,
		.dev_groups = told_groups,
	},
};
module_platform_driver(told_driver);

MODULE_DESCRIPTION("Says what the firmware says of a device");
MODULE_LICENSE("GPL");
