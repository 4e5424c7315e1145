# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A column that older code need not know; and the last release that knew C(reference) is past."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("showcase", "0001_initial"),)
    operations = (
        migrations.AddField(
            "product",
            "former_price",
            models.PositiveIntegerField(blank=True, null=True, verbose_name="ancien prix (FCFA)"),
        ),
        # The code forgets it first; the column stays for the release that may still run beside.
        migrations.SeparateDatabaseAndState(state_operations=[migrations.RemoveField("product", "reference")]),
    )
