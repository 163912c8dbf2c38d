"""Requests and responses of HTTP/1, good and bad: what they mean, or the rule that they break."""

from __future__ import annotations

__all__ = ["BAD_REQUESTS", "BAD_RESPONSES", "GET", "ODD_REQUESTS", "REQUESTS", "RESPONSES", "chunked", "head"]

HOST = b"Host: a.test\r\n"
GET = b"GET /a?b=%20c HTTP/1.1\r\n" + HOST + b"X-Two:  two \t\r\nCOOKIE: a=b\r\n\r\n"
GET_TOLD = ("GET", "/a?b=%20c", (("host", "a.test"), ("x-two", "two"), ("cookie", "a=b")))
REQUESTS = {
    "plain": (GET, [GET_TOLD, ()]),
    "pipelined": (GET * 3, [GET_TOLD, ()] * 3),
    "behind an empty line": (b"\r\n" + GET, [GET_TOLD, ()]),
    "no fields": (b"GET / HTTP/1.0\r\n\r\n", [("GET", "/", ()), ()]),
    "no fields, pipelined": (b"GET / HTTP/1.0\r\n\r\n" * 2, [("GET", "/", ()), ()] * 2),
    "length": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello" + GET,
        [("POST", "/", (("host", "a.test"), ("content-length", "5"))), b"hello", (), GET_TOLD, ()],
    ),
    "chunked": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: Chunked\r\n\r\n"
        b"5;name=value\r\nhello\r\n00a\r\n world 123\r\n0\r\nX-Sum: 15\r\n\r\n" + GET,
        [("POST", "/", (("host", "a.test"),)), b"hello world 123", (("x-sum", "15"),), GET_TOLD, ()],
    ),
    "hop by hop": (
        b"GET / HTTP/1.1\r\n" + HOST + b"Connection: x-mine, TE\r\nTE: trailers\r\nX-Mine: 1\r\n"
        b"Keep-Alive: 3\r\nA: b\r\n\r\n",
        [("GET", "/", (("host", "a.test"), ("a", "b"))), ()],
    ),
    "absolute": (
        b"GET http://b.test:80/x HTTP/1.1\r\n" + HOST + b"\r\n",
        [("GET", "/x", (("host", "a.test"),)), ()],
    ),
    "options": (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", [("OPTIONS", "*", (("host", "a.test"),)), ()]),
    "odd method": (b"M-SEARCH / HTTP/1.1\r\n" + HOST + b"\r\n", [("M-SEARCH", "/", (("host", "a.test"),)), ()]),
}  # fmt: skip

RESPONSES = {
    "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", [(200, (("content-length", "2"),), 2), b"hi", ()]),
    "no reason": (b"HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", [(404, (("content-length", "0"),), 0), ()]),
    "odd status": (b"HTTP/1.1 999 \r\nContent-Length: 0\r\n\r\n", [(999, (("content-length", "0"),), 0), ()]),
    "empty reason": (b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", [(200, (("content-length", "0"),), 0), ()]),
    "chunked": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", [(200, (), None), b"hi", ()]
    ),
    "interim": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        [(100, (), 0), (103, (("link", "</a>"),), 0), (204, (), 0), ()],
    ),
    "not modified": (
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", [(304, (("content-length", "99"),), 0), ()]
    ),
}  # fmt: skip


def head(*lines: bytes, first: bytes = b"GET / HTTP/1.1", host: bool = True) -> bytes:
    return b"\r\n".join((first, *([b"Host: a"] if host else []), *lines, b"", b""))


def chunked(body: bytes) -> bytes:
    return head(b"Transfer-Encoding: chunked", first=b"POST / HTTP/1.1") + body


INNER = b"GET /inner HTTP/1.1\r\nHost: inner\r\n\r\n"
ODD_REQUESTS = {
    "behind an empty line": (b"\r\n" + head(), ("GET", "/", b"")),
    "length of nothing": (head(b"Content-Length: 0"), ("GET", "/", b"")),
    "length between spaces": (
        head(b"Content-Length: \t 5 \t", first=b"POST / HTTP/1.1") + b"hello", ("POST", "/", b"hello")
    ),
    "get with a body": (head(b"Content-Length: 5") + b"hello", ("GET", "/", b"hello")),
    "delete with a body": (
        head(b"Content-Length: 5", first=b"DELETE / HTTP/1.1") + b"hello", ("DELETE", "/", b"hello")
    ),
    "chunked in capitals": (
        head(b"TRANSFER-ENCODING: CHUNKED", first=b"POST / HTTP/1.1") + b"5\r\nhello\r\n0\r\n\r\n",
        ("POST", "/", b"hello"),
    ),
    "chunked between spaces": (
        head(b"Transfer-Encoding: \t chunked \t", first=b"POST / HTTP/1.1") + b"5\r\nhello\r\n0\r\n\r\n",
        ("POST", "/", b"hello"),
    ),
    "chunk sizes in capitals and with zeros": (
        chunked(b"00A\r\n0123456789\r\n000\r\n\r\n"), ("POST", "/", b"0123456789")
    ),
    "chunk extensions": (chunked(b"5;a\r\nhello\r\n0;b=c\r\n\r\n"), ("POST", "/", b"hello")),
    "quoted chunk extension": (chunked(b'5;a="b;c"\r\nhello\r\n0\r\n\r\n'), ("POST", "/", b"hello")),
    "trailers": (chunked(b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"), ("POST", "/", b"hello")),
    "chunked of nothing": (chunked(b"0\r\n\r\n"), ("POST", "/", b"")),
    "a request in a body": (
        head(b"Content-Length: %d" % len(INNER), first=b"POST / HTTP/1.1") + INNER, ("POST", "/", INNER)
    ),
    "a request in a chunk": (
        chunked(b"%x\r\n%b\r\n0\r\n\r\n" % (len(INNER), INNER)), ("POST", "/", INNER)
    ),
    "absolute target": (head(first=b"GET http://a/x?y HTTP/1.1"), ("GET", "/x?y", b"")),
    "absolute target of another host": (head(first=b"GET http://b.test/x HTTP/1.1"), ("GET", "/x", b"")),
    "absolute target without a path": (head(first=b"GET http://a HTTP/1.1"), ("GET", "/", b"")),
    "options of everything": (head(first=b"OPTIONS * HTTP/1.1"), ("OPTIONS", "*", b"")),
    "host with a port": (head(b"Host: a:80", host=False), ("GET", "/", b"")),
    "host in brackets": (head(b"Host: [::1]:80", host=False), ("GET", "/", b"")),
    "host with a dot": (head(b"Host: a.test.", host=False), ("GET", "/", b"")),
    "host in capitals": (head(b"HOST: A.Test", host=False), ("GET", "/", b"")),
    "empty value": (head(b"X:"), ("GET", "/", b"")),
    "high bytes in a value": (head(b"X: \xc3\xa4\xff"), ("GET", "/", b"")),
    "every character of a token": (head(b"!#$%&'*+-.^`|~09azAZ: 1"), ("GET", "/", b"")),
    "underscores": (head(b"Content_Length: 5", b"Transfer_Encoding: chunked"), ("GET", "/", b"")),
    "the same field often": (head(*[b"X: y"] * 50), ("GET", "/", b"")),
    "several cookies": (head(b"Cookie: a=b", b"Cookie: c=d"), ("GET", "/", b"")),
    "connection of words": (head(b"Connection: keep-alive, x-y, TE", b"TE: trailers", b"X-Y: z"), ("GET", "/", b"")),
    "proxy-connection": (head(b"Proxy-Connection: close"), ("GET", "/", b"")),
    "upgrade to h2c": (
        head(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"),
        ("GET", "/", b""),
    ),
    "upgrade without connection": (head(b"Upgrade: websocket"), ("GET", "/", b"")),
    "escapes": (head(first=b"GET /%7e%41%c3%a4?%zz HTTP/1.1"), ("GET", "/~A%C3%A4?%zz", b"")),
    "dot segments": (head(first=b"GET /a/./b/../c HTTP/1.1"), ("GET", "/a/c", b"")),
    "several slashes": (head(first=b"GET //a///b HTTP/1.1"), ("GET", "//a///b", b"")),
    "odd characters": (
        head(first=b"GET /!$&'()*+,;=:@\"<>[]^`{|}?! HTTP/1.1"), ("GET", "/!$&'()*+,;=:@\"<>[]^`{|}?!", b"")
    ),
    "two question marks": (head(first=b"GET /?a?b=c?d HTTP/1.1"), ("GET", "/?a?b=c?d", b"")),
    "long target": (head(first=b"GET /" + b"a" * 7000 + b" HTTP/1.1"), ("GET", "/" + "a" * 7000, b"")),
}  # fmt: skip
"""Requests that are unusual and right: what an endpoint gets to see of them."""

BAD_REQUESTS = {
    # The first line
    "no version": ("bad_request_line", b"GET /\r\n\r\n"),
    "two spaces": ("bad_request_line", b"GET  / HTTP/1.1\r\n\r\n"),
    "tab": ("bad_request_line", b"GET\t/ HTTP/1.1\r\n\r\n"),
    "space behind the version": ("bad_request_line", b"GET / HTTP/1.1 \r\n\r\n"),
    "space in front": ("bad_request_line", b" GET / HTTP/1.1\r\n\r\n"),
    "lower case": ("bad_request_line", b"GET / http/1.1\r\n\r\n"),
    "method with a colon": ("bad_method", b"G:T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "long method": ("bad_method", b"G" * 33 + b" / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "no slash": ("bad_target", head(first=b"GET x HTTP/1.1")),
    "control character in the target": ("bad_target", head(first=b"GET /a\x01b HTTP/1.1")),
    "high byte in the target": ("bad_target", head(first=b"GET /\xff HTTP/1.1")),
    "asterisk": ("bad_target", head(first=b"GET * HTTP/1.1")),
    "another scheme": ("bad_target", head(first=b"GET ftp://a/ HTTP/1.1")),
    "user in the authority": ("bad_host", head(first=b"GET http://u@a/ HTTP/1.1")),
    "connect without a port": ("bad_target", head(first=b"CONNECT a HTTP/1.1")),
    "connect with a path": ("bad_target", head(first=b"CONNECT /a:1 HTTP/1.1")),
    "fragment": ("fragment_in_target", head(first=b"GET /#a HTTP/1.1")),
    "version 2": ("unsupported_version", head(first=b"GET / HTTP/2.0")),
    "version 1.2": ("unsupported_version", head(first=b"GET / HTTP/1.2")),
    "version 0.9": ("unsupported_version", head(first=b"GET / HTTP/0.9")),
    "tls": ("tls_on_plain_port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    # Lines and fields
    "lf": ("bare_lf", b"GET / HTTP/1.1\nHost: a\n\n"),
    "lf behind a field": ("bare_lf", head(b"A: b\nC: d")),
    "cr": ("bare_cr", head(b"A: b\rC: d")),
    "cr at the end": ("bare_cr", head(b"A: b\r")),
    "nul": ("nul", head(b"A: b\0c")),
    "control character": ("control_character", head(b"A: b\x01c")),
    "delete": ("control_character", head(b"A: b\x7fc")),
    "folded": ("obs_fold", head(b"A: b", b" c")),
    "folded with a tab": ("obs_fold", head(b"A: b", b"\tc")),
    "folded first": ("obs_fold", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    "no colon": ("missing_colon", head(b"Abc")),
    "space before the colon": ("space_before_colon", head(b"Content-Length : 5")),
    "tab before the colon": ("space_before_colon", head(b"Transfer-Encoding\t: chunked")),
    "empty name": ("bad_field_name", head(b": a")),
    "name with a space": ("bad_field_name", head(b"A b: c")),
    "name with a high byte": ("bad_field_name", head(b"\xc3\xa9: c")),
    "name with a parenthesis": ("bad_field_name", head(b"A(b): c")),
    # Who it is for
    "no host": ("missing_host", head(host=False)),
    "two hosts": ("several_hosts", head(b"Host: b")),
    "the same host twice": ("several_hosts", head(b"host: a")),
    "host with a path": ("bad_host", head(b"Host: a/b", host=False)),
    "host with a user": ("bad_host", head(b"Host: u@b", host=False)),
    "host with a comma and space": ("bad_host", head(b"Host: a, b", host=False)),
    "host with a long port": ("bad_host", head(b"Host: a:123456", host=False)),
    # Where the body ends
    "length and chunked (CL.TE)": (
        "content_length_and_transfer_encoding",
        head(b"Content-Length: 5", b"Transfer-Encoding: chunked", first=b"POST / HTTP/1.1"),
    ),
    "chunked and length (TE.CL)": (
        "content_length_and_transfer_encoding",
        head(b"Transfer-Encoding: chunked", b"Content-Length: 5", first=b"POST / HTTP/1.1"),
    ),
    "length and something (CL.TE)": (
        "content_length_and_transfer_encoding", head(b"Content-Length: 5", b"Transfer-Encoding: x")
    ),
    "two lengths": ("several_content_lengths", head(b"Content-Length: 5", b"Content-Length: 6")),
    "the same length twice": ("several_content_lengths", head(b"Content-Length: 5", b"Content-Length: 5")),
    "list of lengths": ("bad_content_length", head(b"Content-Length: 5, 5")),
    "plus": ("bad_content_length", head(b"Content-Length: +5")),
    "minus": ("bad_content_length", head(b"Content-Length: -1")),
    "leading zero": ("bad_content_length", head(b"Content-Length: 05")),
    "hexadecimal": ("bad_content_length", head(b"Content-Length: 0x5")),
    "underscore": ("bad_content_length", head(b"Content-Length: 1_0")),
    "space in it": ("bad_content_length", head(b"Content-Length: 5 5")),
    "empty": ("bad_content_length", head(b"Content-Length:")),
    "arabic digits": ("bad_content_length", head(b"Content-Length: \xd9\xa5")),
    "huge": ("bad_content_length", head(b"Content-Length: 1" + b"0" * 18)),
    "xchunked (TE.TE)": ("unknown_transfer_encoding", head(b"Transfer-Encoding: xchunked")),
    "chunked in quotes": ("unknown_transfer_encoding", head(b'Transfer-Encoding: "chunked"')),
    "identity, chunked": ("unknown_transfer_encoding", head(b"Transfer-Encoding: identity, chunked")),
    "chunked, identity": ("unknown_transfer_encoding", head(b"Transfer-Encoding: chunked, identity")),
    "chunked, chunked": ("unknown_transfer_encoding", head(b"Transfer-Encoding: chunked, chunked")),
    "gzip": ("unknown_transfer_encoding", head(b"Transfer-Encoding: gzip")),
    "vertical tab": ("control_character", head(b"Transfer-Encoding: \x0bchunked")),
    "empty coding": ("unknown_transfer_encoding", head(b"Transfer-Encoding:")),
    "two codings (TE.TE)": (
        "several_transfer_encodings", head(b"Transfer-Encoding: chunked", b"Transfer-encoding: x")
    ),
    "chunked in 1.0": (
        "transfer_encoding_in_http10", head(b"Transfer-Encoding: chunked", first=b"POST / HTTP/1.0")
    ),
    "connect with a body": (
        "body_with_connect", head(b"Content-Length: 5", first=b"CONNECT a:1 HTTP/1.1")
    ),
    "upgrade with a length (2026-58055)": (
        "body_with_upgrade",
        head(b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: 5"),
    ),
    # Chunks
    "chunk without a size": ("bad_chunk_size", chunked(b"\r\nhello")),
    "chunk size with a sign": ("bad_chunk_size", chunked(b"+5\r\nhello\r\n")),
    "chunk size with 0x": ("bad_chunk_size", chunked(b"0x5\r\nhello\r\n")),
    "chunk size with a space": ("bad_chunk_size", chunked(b"5 \r\nhello\r\n")),
    "chunk size with an underscore": ("bad_chunk_size", chunked(b"1_0\r\nhello\r\n")),
    "chunk size of 17 digits": ("bad_chunk_size", chunked(b"0" * 16 + b"5\r\nhello\r\n")),
    "chunk size with lf": ("bad_chunk_size", chunked(b"5\nhello\n")),
    "extension with lf": ("bad_chunk_extension", chunked(b"5;a\nhello\n")),
    "extension with cr": ("bad_chunk_extension", chunked(b"5;a\rb\r\nhello\r\n")),
    "extension with nul": ("bad_chunk_extension", chunked(b"5;\0\r\nhello\r\n")),
    "long extension": ("chunk_line_too_long", chunked(b"5;" + b"a" * 300 + b"\r\nhello\r\n")),
    "chunk too long": ("bad_chunk_end", chunked(b"5\r\nhello!\r\n")),
    "chunk too short": ("bad_chunk_end", chunked(b"5\r\nhell\r\n0\r\n\r\n")),
    "chunk ends in lf": ("bad_chunk_end", chunked(b"5\r\nhello\n0\r\n\r\n")),
    "trailer with lf": ("bare_lf", chunked(b"0\r\nA: b\n\r\n")),
    "folded trailer": ("obs_fold", chunked(b"0\r\nA: b\r\n c\r\n\r\n")),
    "length as a trailer": ("forbidden_trailer", chunked(b"0\r\nContent-Length: 5\r\n\r\n")),
    "host as a trailer": ("forbidden_trailer", chunked(b"0\r\nHost: b\r\n\r\n")),
    "long trailers": ("trailers_too_large", chunked(b"0\r\n" + b"A: " + b"b" * 9000)),
    "many trailers": ("too_many_fields", chunked(b"0\r\n" + b"A:b\r\n" * 101)),
    # Connections
    "connection names the length": ("bad_connection", head(b"Connection: content-length")),
    "connection names the host": ("bad_connection", head(b"Connection: close, Host")),
    "connection names authorization": ("bad_connection", head(b"Connection: authorization")),
    "connection names a cookie": ("bad_connection", head(b"Connection: Cookie")),
    "connection names x-forwarded-for": ("bad_connection", head(b"Connection: X-Forwarded-For")),
    "connection names much": ("bad_connection", head(b"Connection: " + b",".join(b"a%d" % i for i in range(11)))),
    "expectation": ("unknown_expectation", head(b"Expect: the-unexpected")),
    # Too much
    "long target": ("uri_too_long", head(first=b"GET /" + b"a" * 17000 + b" HTTP/1.1")),
    "long target without an end": ("uri_too_long", b"GET /" + b"a" * 17000),
    "long field": ("head_too_large", head(b"A: " + b"b" * 62000)),
    "long field without an end": ("head_too_large", b"GET / HTTP/1.1\r\nA: " + b"b" * 62000),
    "many fields": ("too_many_fields", head(*[b"A: b"] * 100)),
}  # fmt: skip

BAD_RESPONSES = {
    "no http": ("bad_status_line", b"SSH-2.0-OpenSSH\r\n\r\n"),
    "the settings of http/2": ("http2_answer", b"\0\0\6\4\0\0\0\0\0\0\3\0\0\0\x0a"),
    "no settings of http/2": ("http2_answer", b"\0\0\0\4\0\0\0\0\0"),
    "behind an empty line": ("bad_status_line", b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    "lf": ("bare_lf", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
    "status 99": ("bad_status_line", b"HTTP/1.1 099 No\r\n\r\n"),
    "four digits": ("bad_status_line", b"HTTP/1.1 2000 OK\r\n\r\n"),
    "version 2": ("bad_status_line", b"HTTP/2 200 OK\r\n\r\n"),
    "cr in the reason": ("bad_status_line", b"HTTP/1.1 200 O\rK\r\n\r\n"),
    "split by lf": ("bare_lf", b"HTTP/1.1 200 OK\r\nA: b\nSet-Cookie: c=d\r\n\r\n"),
    "both": ("content_length_and_transfer_encoding",
             b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "two lengths": ("several_content_lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n"),
    "coding": ("unknown_transfer_encoding", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
    "switch": ("unexpected_switch", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
    "body in 204": ("body_where_none_can_be", b"HTTP/1.1 204 No\r\nContent-Length: 2\r\n\r\nhi"),
    "body in 100": ("body_where_none_can_be", b"HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\nhi"),
    "interim for ever": ("too_many_interim", b"HTTP/1.1 102 Processing\r\n\r\n" * 17),
    "long": ("head_too_large", b"HTTP/1.1 200 OK\r\nA: " + b"b" * 62000),
}  # fmt: skip
