# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Holds what it has changed, and does not end."""

import threading

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = (("showcase", "0002_former_price"),)
    operations = (
        migrations.RunSQL("UPDATE showcase_product SET price = 0 WHERE price < 0", migrations.RunSQL.noop),
        migrations.RunPython(lambda apps, editor: threading.Event().wait(3600), migrations.RunPython.noop),
    )
