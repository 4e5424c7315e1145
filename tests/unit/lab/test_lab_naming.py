# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from lab import subnets, zones
from lab.errors import LabError
from lab.hosts import addresses
from lab.names import Lab, lab_name, lab_net
from lab.zones import Zone

LAB = Lab("test", "10.9.8")


def test_a_lab_knows_its_addresses_and_names() -> None:
    assert (LAB.dns, LAB.network, LAB.container("vps1")) == ("10.9.8.2", "quai-test", "quai-test-vps1")
    assert str(LAB.subnet) == "10.9.8.0/24"


@pytest.mark.parametrize("name", ["Lab", "1lab", "a b", "../etc", "é", "x" * 42])
def test_a_bad_lab_name_is_refused_with_its_value(name: str) -> None:
    with pytest.raises(LabError, match="QUAI_LAB=") as caught:
        lab_name({"QUAI_LAB": name})
    assert repr(name) in caught.value.reason
    assert caught.value.fix


@pytest.mark.parametrize("name", ["engine", "images", "locks"])
def test_a_name_whose_directory_all_labs_share_is_refused(name: str) -> None:
    with pytest.raises(LabError, match=f"build/{name} belongs to all labs"):
        lab_name({"QUAI_LAB": name})


@pytest.mark.parametrize(
    ("given", "expected"), [({}, "lab"), ({"QUAI_LAB": ""}, "lab"), ({"QUAI_LAB": "mol-nginx_tls"}, "mol-nginx_tls")]
)
def test_lab_name(given: dict[str, str], expected: str) -> None:
    assert lab_name(given) == expected


@pytest.mark.parametrize("net", ["10.213", "10.213.0.0", "10.213.256", "ten", "10.213.0/24"])
def test_a_bad_network_is_refused(net: str) -> None:
    with pytest.raises(LabError, match="is not a /24 network"):
        lab_net({"QUAI_LAB_NET": net})


def test_network_default_and_auto() -> None:
    assert lab_net({}) == "10.213.0"
    assert lab_net({"QUAI_LAB_NET": "auto"}) == "auto"


def test_present_hosts_stay_and_new_ones_fill_the_gaps() -> None:
    present = {"b": "10.9.8.11"}
    assert addresses(LAB, ["a", "b", "c"], present) == {"a": "10.9.8.10", "b": "10.9.8.11", "c": "10.9.8.12"}
    assert present == {"b": "10.9.8.11"}


class TestSubnets:
    TAKEN = (
        (IPv4Network("10.213.0.0/24"), "Docker network quai-lab"),
        (IPv4Network("192.168.0.0/16"), "route through eth0"),
    )

    @pytest.mark.parametrize(
        ("subnet", "owner"),
        [
            ("10.213.0.0/24", "10.213.0.0/24 (Docker network quai-lab)"),
            ("192.168.7.0/24", "192.168.0.0/16 (route through eth0)"),
            ("10.213.1.0/24", ""),
        ],
    )
    def test_collision(self, subnet: str, owner: str) -> None:
        assert subnets.collision(IPv4Network(subnet), self.TAKEN) == owner

    def test_the_same_name_gets_the_same_network_and_the_next_one_when_it_is_taken(self) -> None:
        first = subnets.first_free("mol-x", [])
        assert first == subnets.first_free("mol-x", self.TAKEN)
        second = subnets.first_free("mol-x", [(IPv4Network(f"{first}.0/24"), "somebody")])
        assert second != first
        assert second == subnets.candidates("mol-x")[1]

    def test_candidates_are_distinct_and_away_from_hand_chosen_ones(self) -> None:
        found = subnets.candidates("anything")
        assert len(set(found)) == len(found) == 127
        assert all(128 <= int(net.split(".")[2]) <= 254 for net in found)

    def test_no_free_network_says_where_it_looked(self) -> None:
        with pytest.raises(LabError, match=r"10\.213\.128\.0 and 10\.213\.254\.0"):
            subnets.first_free("mol-x", [(IPv4Network("10.213.0.0/16"), "somebody")])

    def test_routes_leave_the_default_route_out(self) -> None:
        listing: list[dict[str, object]] = [
            {"dst": "default", "gateway": "192.0.2.1", "dev": "eth0"},
            {"dst": "192.0.2.0/24", "dev": "eth0"},
            {"dst": "10.8.0.1", "dev": "tun0"},
        ]
        assert subnets.routes(listing) == [
            (IPv4Network("192.0.2.0/24"), "route through eth0"),
            (IPv4Network("10.8.0.1/32"), "route through tun0"),
        ]


class TestZones:
    def test_a_zone_of_the_command_line(self) -> None:
        assert zones.parse_zone("masstock.fr=vps1:@,app") == ("masstock.fr", Zone("vps1", ("@", "app")))

    @pytest.mark.parametrize("text", ["masstock.fr", "masstock.fr=vps1", "=vps1:@", "masstock.fr=vps1:", "a=:b"])
    def test_a_malformed_zone_is_refused_with_an_example(self, text: str) -> None:
        with pytest.raises(LabError) as caught:
            zones.parse_zone(text)
        assert repr(text) in caught.value.reason
        assert "masstock.fr=vps1:@,app,api" in caught.value.fix

    def test_a_projects_zone_leads_to_its_host(self) -> None:
        text = zones.zone_file(Zone("b", ("@", "api")), {"a": "10.9.8.10", "b": "10.9.8.11"})
        assert text.endswith("@ IN A 10.9.8.11\napi IN A 10.9.8.11\n")
        assert "10.9.8.10" not in text

    def test_the_labs_zone_has_services_hosts_and_everything_below_a_host(self) -> None:
        text = zones.lab_zone_file({"dns": "10.9.8.2", "acme": "10.9.8.4"}, {"vps1": "10.9.8.10"})
        for record in ("dns IN A 10.9.8.2", "ocsp IN A 10.9.8.4", "vps1 IN A 10.9.8.10", "*.vps1 IN A 10.9.8.10"):
            assert f"{record}\n" in text

    def test_updates_need_the_key_and_the_rest_is_forwarded(self) -> None:
        text = zones.named_conf(["lab", "masstock.fr"], ["192.0.2.53", "198.51.100.53"], "c2VjcmV0")
        assert "forwarders { 192.0.2.53; 198.51.100.53; };" in text
        assert 'secret "c2VjcmV0"' in text
        assert text.count("update-policy { grant quai-lab. zonesub ANY; };") == 2

    def test_certbots_credentials_name_server_key_and_algorithm(self) -> None:
        lines = dict(line.split(" = ") for line in zones.certbot_credentials("10.9.8.2", "c2VjcmV0").splitlines())
        assert lines == {
            "dns_rfc2136_server": "10.9.8.2",
            "dns_rfc2136_port": "53",
            "dns_rfc2136_name": "quai-lab.",
            "dns_rfc2136_secret": "c2VjcmV0",
            "dns_rfc2136_algorithm": "HMAC-SHA512",
        }

    def test_resolvers_that_a_container_cannot_reach_are_left_out(self) -> None:
        lines = ["# nameserver 192.0.2.1", "127.0.0.53", "192.0.2.53", "fe80::1%eth0"]
        text = "\nnameserver ".join(lines) + "\nsearch lab\n"
        assert zones.resolvers(text) == ["192.0.2.53"]


def test_the_repository_is_the_parent_of_the_package() -> None:
    assert LAB.directory == Path(__file__).resolve().parents[3] / "build" / "test"
