# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab: bare servers, a registry, an ACME CA, DNS and mail on this machine, so that quai meets real ones.

``python -m lab --help`` lists the verbs.
"""
