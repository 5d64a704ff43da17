"""The forms of addresses. ``{port}`` stands for the port of the canaries, ``{own}`` for that of the server."""

from ipaddress import IPv4Address

ANY = "0.0.0.0"  # noqa: S104  (an address that must be refused)

LOOPBACK = (
    # IPv4 as numbers, as the C library reads them
    "127.0.0.1", "127.1", "127.0.1", "127.00.0.01", "127.000.000.001", "0177.0.0.1", "0x7f.0.0.1", "0x7f.1",
    "0x7f.0x0.0x0.0x1", "0x7f000001", "0X7F000001", "2130706433", "017700000001", "4294967296", "127.0.0.1.",
    "127.0.0.3", "127.255.255.254", "127.0.0.256", "0", "0x0", "00000000", ANY, f"{ANY}.", "0.0.0.1",
    # IPv6
    "[::1]", "[0:0:0:0:0:0:0:1]", "[0000::0001]", "[::0.0.0.1]", "[::]", "[0::0]", "[::1]%", "[[::1]]", "::1",
    "[::1%lo]", "[::1%25lo]", "[::1%1]", "[::%lo]", "[fe80::1%lo]", "[fe80::1%25eth0]", "[fe80::1]",
    # IPv4 inside IPv6: mapped, compatible, translated, NAT64, 6to4, Teredo, ISATAP
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::FFFF:7F00:0001]", "[0:0:0:0:0:ffff:127.0.0.1]", "[::ffff:127.0.0.1%1]",
    "[::ffff:0.0.0.0]", "[::127.0.0.1]", "[::7f00:1]", "[::ffff:0:127.0.0.1]", "[64:ff9b::127.0.0.1]",
    "[64:ff9b:1::127.0.0.1]", "[64:ff9b:1:7f00:0:100::]", "[64:ff9b:1:7f:0:1::]", "[64:ff9b:1:0:7f:0:100:0]",
    "[2002:7f00:1::]", "[2002:7f00:0001::1]", "[2001:0:7f00:1::f7f7:f7f7]", "[2001:0:808:808::80ff:fffe]",
    "[2001:4860::5efe:127.0.0.1]", "[2001:4860::200:5efe:127.0.0.1]",
    # names
    "localhost", "LOCALHOST", "localhost.", "localhost.localdomain", "ip6-localhost", "ip6-loopback", "loop4.example",
    "loop6.example", "both.example", "mapped.example", "any4.example", "any6.example", "sixtofour.example",
    "nat64.example",
    "numbers.example", "loop4.example.", "LOOP4.EXAMPLE", "loop4%2Eexample", "xn--loop4.example", "here.example",
    # digits and dots that are none
    "\uff11\uff12\uff17.\uff10.\uff10.\uff11", "\u2460\u2461\u2466.\u24ea.\u24ea.\u2460", "127\u30020\u30020\u30021",
    "127\uff0e0\uff0e0\uff0e1", "%31%32%37.0.0.1", "127%2E0%2E0%2E1", "loc%61lhost",
    "\u24dbocalhost", "loca\u00adlhost", "127.0.0.1\u200b", "\uff4coop4.example",
)  # fmt: skip
"""Hosts that lead to this machine, or could be taken for such a host. Each gets a port and becomes an URL."""

ODD_URLS = (
    # who is the host?
    "http://{allowed}@127.0.0.1:{port}", "http://{allowed}:{port}@127.0.0.1:{port}",
    "http://{allowed}#@127.0.0.1:{port}",
    "http://{allowed}?@127.0.0.1:{port}", "http://{allowed}\\@127.0.0.1:{port}", "http://127.0.0.1\\@{allowed}:{port}",
    "http://{allowed};127.0.0.1:{port}", "http://{allowed}%00@127.0.0.1:{port}", "http://{allowed}%2F@127.0.0.1:{port}",
    "http://{allowed}%20127.0.0.1:{port}", "http://{allowed}\t127.0.0.1:{port}",
    "http://{allowed}\r\nHost: 127.0.0.1:{port}",
    "http://:@127.0.0.1:{port}", "http://@127.0.0.1:{port}", "http://127.0.0.1:{port}@",
    "http://127.0.0.1,{allowed}:{port}",
    # which port?
    "http://127.0.0.1:0{port}", "http://127.0.0.1:+{port}", "http://127.0.0.1: {port}",
    "http://127.0.0.1:{port}:{port}",
    "http://127.0.0.1:%3{port}", "http://127.0.0.1:6{port}6", "http://127.0.0.1:-1", "http://127.0.0.1:",
    # which scheme?
    "HTTP://127.0.0.1:{port}", "https://127.0.0.1:{port}", "http:127.0.0.1:{port}", "http:/127.0.0.1:{port}",
    "http:///127.0.0.1:{port}", "http:\\\\127.0.0.1:{port}", "//127.0.0.1:{port}", "ftp://127.0.0.1:{port}",
    "file:///etc/passwd", "gopher://127.0.0.1:{port}", "unix:///run/x.sock", "http+unix://%2Frun%2Fx.sock",
    # and the rest of it
    "http://127.0.0.1:{port}/../healthz", "http://127.0.0.1:{port}/a?b=c", "http://127.0.0.1:{port}/#x",
    "http://127.0.0.1:{port}/%0d%0aHost:x", "http://127.0.0.1:{port}//", "http://127.0.0.1:{port}/@{allowed}",
)  # fmt: skip

METADATA = (
    "169.254.169.254", "0xa9fea9fe", "2852039166", "0251.0376.0251.0376", "169.254.43518", "169.254.170.2",
    "[::ffff:169.254.169.254]", "[::169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::a9fe:a9fe]",
    "[2002:a9fe:a9fe::]",
    "[2001:0:808:808::5601:5601]", "[2001:4860::5efe:169.254.169.254]", "[fd00:ec2::254]", "[fd00:ec2::23]",
    "[fd20:ce::254]",
    "[fe80::a9fe:a9fe%25eth0]", "100.100.100.200", "168.63.129.16", "192.0.0.192", "meta.example", "meta6.example",
    "224.0.0.1", "255.255.255.255", "[ff02::1]", "[::ffff:224.0.0.1]",
)  # fmt: skip
"""Hosts that are refused whatever networks are allowed. The addresses of the server itself are among them."""

OWN = (
    "127.0.0.1", "127.0.0.3", "localhost", ANY, "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::127.0.0.1]",
    "[2002:7f00:1::]", "[64:ff9b::7f00:1]", "loop4.example", "here.example",
)  # fmt: skip
"""Hosts of this machine, with the port of the server itself."""

NAMES = {
    "loop4.example": ["127.0.0.1"],
    "loop6.example": ["::1"],
    "both.example": ["::1", "127.0.0.1"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "any4.example": [ANY],
    "any6.example": ["::"],
    "sixtofour.example": ["2002:7f00:1::"],
    "nat64.example": ["64:ff9b::127.0.0.1"],
    "numbers.example": ["127.0.0.1"] * 20,
    "meta.example": ["169.254.169.254"],
    "meta6.example": ["fd00:ec2::254", "::ffff:169.254.169.254"],
}
"""What the resolver of the harness says. It changes its mind about names that begin with ``rebind``."""


def of_interface(address: str) -> list[str]:
    """Write the address of an interface in several forms."""
    if ":" in address:
        return [f"[{address}]", f"[{address.upper()}]"]
    four = IPv4Address(address)
    short = f"{int(four) >> 16:04x}:{int(four) & 0xFFFF:x}"
    return [
        address,
        str(int(four)),
        hex(int(four)),
        f"[::ffff:{address}]",
        f"[::{address}]",
        f"[64:ff9b::{address}]",
        f"[2002:{short}::]",
        f"[2001:4860::5efe:{address}]",
    ]
