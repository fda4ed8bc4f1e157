package relay

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

var errNextHop = errors.New("bad next hop")

// nextHop is a destination that was read.
type nextHop struct {
	host    string     // name as DNS knows it, or ""
	addr    netip.Addr // literal, or the zero Addr
	port    int        // 0 means the agent's
	mx      bool       // host is a mail domain: its MX hosts are asked for
	network string     // "tcp" or "unix"
	path    string     // of the unix socket
}

// parseNextHop reads "example.org", "example.org:587", "[mx.example.org]",
// "[192.0.2.1]:2525", "[2001:db8::1]", "[IPv6:2001:db8::1]:25", "unix:/path" and,
// as lmtp(8) has it, "inet:" before any of the others.
func parseNextHop(s string) (nextHop, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if path == "" {
			return nextHop{}, fmt.Errorf("%w %q: no path", errNextHop, s)
		}
		return nextHop{network: "unix", path: path}, nil
	}
	text := strings.TrimPrefix(s, "inet:")
	hop := nextHop{network: "tcp", mx: true}
	host, port := text, ""
	if inner, ok := strings.CutPrefix(text, "["); ok {
		end := strings.IndexByte(inner, ']')
		if end < 0 {
			return nextHop{}, fmt.Errorf("%w %q: no closing bracket", errNextHop, s)
		}
		host, port, hop.mx = inner[:end], inner[end+1:], false
	} else if i := strings.IndexByte(text, ':'); i >= 0 {
		host, port = text[:i], text[i:]
	}
	if err := hop.setPort(port); err != nil {
		return nextHop{}, fmt.Errorf("%w %q: %w", errNextHop, s, err)
	}
	if err := hop.setHost(host); err != nil {
		return nextHop{}, fmt.Errorf("%w %q: %w", errNextHop, s, err)
	}
	return hop, nil
}

// setPort reads "" or ":25".
func (h *nextHop) setPort(s string) error {
	if s == "" {
		return nil
	}
	digits, ok := strings.CutPrefix(s, ":")
	port, err := strconv.ParseUint(digits, 10, 16)
	if !ok || err != nil || port == 0 || digits[0] == '+' {
		return errors.New("the port is not a number from 1 to 65535")
	}
	h.port = int(port)
	return nil
}

func (h *nextHop) setHost(s string) error {
	if !h.mx {
		literal := s
		if len(s) > 5 && strings.EqualFold(s[:5], "IPv6:") { // RFC 5321, section 4.1.3
			literal = s[5:]
		}
		if addr, err := netip.ParseAddr(literal); err == nil {
			h.addr = addr.Unmap()
			return nil
		}
	}
	name := strings.TrimSuffix(strings.ToLower(s), ".")
	if !isASCII(name) {
		ascii, err := idna.Lookup.ToASCII(name)
		if err != nil {
			return fmt.Errorf("international domain name: %w", err)
		}
		name = ascii
	}
	if !isHostName(name) {
		return errors.New("not a host name")
	}
	h.host = name
	return nil
}

// isHostName reports whether s can be asked for in DNS and be shown in a log
// and in a report: letters, digits, hyphens and underscores in labels of 1 to
// 63, 253 in all.
func isHostName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for i := range len(label) {
			ch := label[i]
			if ch|0x20 < 'a' || ch|0x20 > 'z' {
				if (ch < '0' || ch > '9') && ch != '-' && ch != '_' {
					return false
				}
			}
		}
	}
	return true
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
