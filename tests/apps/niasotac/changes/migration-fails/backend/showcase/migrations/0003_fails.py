# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Begins well, then fails."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = (("showcase", "0002_former_price"),)
    operations = (
        migrations.RunSQL("UPDATE showcase_product SET price = 0", migrations.RunSQL.noop),
        migrations.RunSQL("SELECT price FROM showcase_no_such_table", migrations.RunSQL.noop),
    )
