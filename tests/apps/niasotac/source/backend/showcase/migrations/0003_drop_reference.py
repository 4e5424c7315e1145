# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was in the column is gone, so there is no way back."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = (("showcase", "0002_former_price"),)
    operations = (migrations.RunSQL("ALTER TABLE showcase_product DROP COLUMN reference"),)
