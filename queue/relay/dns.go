package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Resolver finds mail servers and their addresses. *DNS and *net.Resolver are
// Resolvers; it may be called from any number of goroutines.
//
// A name that does not exist is a *net.DNSError with IsNotFound; a name that
// has no such record is that too, or an empty answer. Every other error is
// temporary: the mail is deferred. When there are both records and an error,
// the records count.
type Resolver interface {
	// LookupMX returns the MX records of a domain, in any order. A single one
	// whose Host is "." or "" is the null MX (RFC 7505).
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	// LookupNetIP returns the addresses of a host; network is "ip".
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// DNS is a Resolver that asks name servers itself, so that a name that does not
// exist, a name without records and a server that fails are told apart. The
// zero value asks the system's name servers.
type DNS struct {
	// Servers are recursive name servers, "192.0.2.53:53". With nil those of
	// /etc/resolv.conf are asked, and addresses are looked up as the system does
	// it, /etc/hosts included.
	Servers []string
	// Timeout is how long one server is waited for; zero means 5 s.
	Timeout time.Duration
	// Attempts is how often each server is asked; zero means twice.
	Attempts int
}

// resolvConf names the system's name servers, resolv.conf(5).
const resolvConf = "/etc/resolv.conf"

// LookupMX asks for the MX records of a domain. A domain that exists and has
// none is an empty answer without error.
func (d *DNS) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	answer, err := d.lookup(ctx, name, dns.TypeMX)
	var mx []*net.MX
	for _, rr := range answer {
		if r, ok := rr.(*dns.MX); ok {
			mx = append(mx, &net.MX{Host: r.Mx, Pref: r.Preference})
		}
	}
	return mx, err
}

// LookupNetIP asks for the addresses of a host: network is "ip", "ip4" or
// "ip6". When one family is answered and the other fails, the answer counts.
func (d *DNS) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if len(d.Servers) == 0 {
		// With a dot at its end a name is not looked up below the search domains;
		// one without any dot ("localhost") is not found in /etc/hosts that way.
		if strings.Contains(host, ".") && !strings.HasSuffix(host, ".") {
			host += "."
		}
		return net.DefaultResolver.LookupNetIP(ctx, network, host)
	}
	var addrs []netip.Addr
	var fault error
	for _, family := range []struct {
		network string
		rrtype  uint16
	}{{"ip6", dns.TypeAAAA}, {"ip4", dns.TypeA}} {
		if network != "ip" && network != family.network {
			continue
		}
		answer, err := d.lookup(ctx, host, family.rrtype)
		if err != nil && (fault == nil || isNotFound(fault)) {
			fault = err
		}
		for _, rr := range answer {
			if addr, ok := address(rr); ok {
				addrs = append(addrs, addr)
			}
		}
	}
	if len(addrs) > 0 {
		return addrs, nil
	}
	return nil, fault
}

func address(rr dns.RR) (netip.Addr, bool) {
	var ip net.IP
	switch r := rr.(type) {
	case *dns.A:
		ip = r.A
	case *dns.AAAA:
		ip = r.AAAA
	}
	addr, ok := netip.AddrFromSlice(ip)
	return addr.Unmap(), ok
}

// lookup returns the records of one type that name, or what it is an alias of,
// has.
func (d *DNS) lookup(ctx context.Context, name string, rrtype uint16) ([]dns.RR, error) {
	fail := func(err error, notFound bool) error {
		return &net.DNSError{UnwrapErr: err, Err: err.Error(), Name: name, IsNotFound: notFound, IsTemporary: !notFound}
	}
	servers, err := d.servers()
	if err != nil {
		return nil, fail(err, false)
	}
	q := new(dns.Msg).SetQuestion(dns.Fqdn(name), rrtype)
	q.SetEdns0(1232, false)
	for range max(1, orElse(d.Attempts, 2)) {
		for _, server := range servers {
			var reply *dns.Msg
			if reply, err = d.exchange(ctx, q, server); err != nil {
				continue
			}
			if reply.Rcode == dns.RcodeNameError {
				return nil, fail(errNXDOMAIN, true)
			}
			return owned(reply.Answer, q.Question[0].Name, rrtype), nil
		}
	}
	return nil, fail(err, false)
}

var errNXDOMAIN = errors.New("no such domain")

// exchange asks one server, by TCP when the answer is too long for UDP. What is
// neither an answer nor NXDOMAIN is an error.
func (d *DNS) exchange(ctx context.Context, q *dns.Msg, server string) (*dns.Msg, error) {
	client := &dns.Client{Timeout: orElse(d.Timeout, 5*time.Second)}
	reply, _, err := client.ExchangeContext(ctx, q, server)
	if err == nil && reply.Truncated {
		client.Net = "tcp"
		reply, _, err = client.ExchangeContext(ctx, q, server)
	}
	if err != nil {
		return nil, fmt.Errorf("name server %s: %w", server, err)
	}
	if len(reply.Question) != 1 || !strings.EqualFold(reply.Question[0].Name, q.Question[0].Name) ||
		reply.Question[0].Qtype != q.Question[0].Qtype {
		return nil, fmt.Errorf("name server %s: answer to another question", server)
	}
	if reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError {
		return nil, fmt.Errorf("name server %s: %s", server, dns.RcodeToString[reply.Rcode])
	}
	return reply, nil
}

func (d *DNS) servers() ([]string, error) {
	if len(d.Servers) > 0 {
		return d.Servers, nil
	}
	config, err := dns.ClientConfigFromFile(resolvConf)
	if err != nil {
		return nil, fmt.Errorf("name servers of the system: %w", err)
	}
	if len(config.Servers) == 0 {
		return nil, errors.New("name servers of the system: none in " + resolvConf)
	}
	servers := make([]string, len(config.Servers))
	for i, s := range config.Servers {
		servers[i] = net.JoinHostPort(s, config.Port)
	}
	return servers, nil
}

// owned returns the records that belong to name, following the CNAMEs of the
// answer. Anything else in it was not asked for.
func owned(answer []dns.RR, name string, rrtype uint16) []dns.RR {
	for range 10 {
		var found []dns.RR
		next := ""
		for _, rr := range answer {
			if !strings.EqualFold(rr.Header().Name, name) {
				continue
			}
			if c, ok := rr.(*dns.CNAME); ok {
				next = c.Target
			}
			if rr.Header().Rrtype == rrtype {
				found = append(found, rr)
			}
		}
		if len(found) > 0 || next == "" {
			return found
		}
		name = next
	}
	return nil
}

func isNotFound(err error) bool {
	var dnsError *net.DNSError
	return errors.As(err, &dnsError) && dnsError.IsNotFound
}

// orElse returns v, or what its zero value stands for.
func orElse[T comparable](v, zero T) T {
	var none T
	if v == none {
		return zero
	}
	return v
}
